"""core/waiting.py: a wait for an app's future ends with the connection at the latest."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.support.processes import FakeConnection, run
from wsdaemon.core.connection import Connection
from wsdaemon.core.waiting import until_done


def test_until_the_future_is_done_or_the_connection_is_over() -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        for end in ("done", "over", "failed"):
            connection, future = FakeConnection(), loop.create_future()
            waiting = asyncio.ensure_future(until_done(future, cast(Connection, cast(Any, connection))))
            await asyncio.sleep(0)
            assert not waiting.done()
            if end == "done":
                future.set_result(None)
            elif end == "failed":
                future.set_exception(ValueError())
            else:
                connection.close()
            await waiting
            assert future.done() == (end != "over")
            assert not future.cancelled()
            if end == "failed":
                assert isinstance(future.exception(), ValueError)

    run(story())
