"""The outcome of the user's own function or coroutine, and what it means for the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .closing import INTERNAL_ERROR, INVALID_PAYLOAD, ConnectionClosed
from .typed_messages import BadMessage

if TYPE_CHECKING:
    from .connection import Connection
    from .contract import Failed


def went_well(connection: Connection, doing: str, error: BaseException | None, failed: Failed) -> bool:
    """Whether the user's code has ended without a failure. `doing` and `failed` are as in Failed.

    BadMessage closes the connection with 1007. `failed` is told of any other failure, which closes it with 1011.
    """
    if error is None or (isinstance(error, ConnectionClosed) and not connection.is_open):
        return True
    if isinstance(error, BadMessage):
        connection.close(INVALID_PAYLOAD, "bad message")
        return False
    failed(connection, doing, error)
    connection.close(INTERNAL_ERROR, "internal error")
    return False
