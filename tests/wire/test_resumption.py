"""wire/resumption.py: a mount refuses connections that it cannot go on with, and its own limits apply to the others."""

from __future__ import annotations

import pytest

from tests.support.fakes import close
from tests.support.handover import Worker, move, run, turns
from tests.wire.test_handover import Counter, opened
from wsdaemon.apps.echo import EchoApp
from wsdaemon.wire.handed import decode
from wsdaemon.wire.handover import Parting
from wsdaemon.wire.resumption import CannotResume, check


def test_a_handshake_that_was_let_go_is_no_use_for_an_app_that_keeps_it() -> None:
    async def story() -> None:
        talker, old, _ = await opened(EchoApp())
        parting = old.part()
        assert isinstance(parting, Parting)
        with pytest.raises(CannotResume, match="handshake"):
            check(Worker(Counter()).wires, decode(parting.content))
        await old.take(parting)
        talker.close()
        await turns(lambda: old.watcher.closed_ones)

    run(story())


def test_the_new_limits_apply() -> None:
    """A lifetime that is over by the new mount's measure ends the connection; a mount without pings sends none."""

    async def story() -> None:
        talker, old, _ = await opened(EchoApp(), ping_interval=30)
        old.wire.connection.opened_at -= 100
        new = Worker(EchoApp(), lifetime=50)
        await move(old, new)
        assert [(each.opcode, each.code) for each in await talker.hear(1)] == [(8, 1001)]
        talker.send(close(1001))
        await turns(lambda: new.watcher.closed_ones)
        talker.close()

    run(story())
