"""To wait for a future of an app's own, and no longer than the connection lasts."""

from __future__ import annotations

import asyncio
from typing import Any

from .connection import Connection


async def until_done(future: asyncio.Future[Any], connection: Connection) -> None:
    """Wait until `future` is done or the connection is over. Neither its result nor its exception is taken, and it is not cancelled.

    A session that returns this from `received` is told `closed` soon after the end of the connection, also if the future is never done.
    """
    if future.done():
        return
    over = asyncio.ensure_future(connection.wait_closed())
    try:
        await asyncio.wait((future, over), return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.cancel()
