"""Rooms: what one member of a room publishes, every other member is given, in one order, and nothing is lost without a word.

A client needs no library: it opens a WebSocket on the path of a room, and what it sends goes to all others as it came (`plain`). One that
wants more offers the subprotocol rooms.v1.json (`subprotocol`, and `requests` and `events` for its format). `app` holds the two together,
`policy` calls the user's hooks, `handle` is how the program itself publishes.
"""

from __future__ import annotations

from .app import RoomsApp
from .events import SUBPROTOCOL
from .handle import RoomHandle, RoomsHandle
from .mount_rooms import RoomsRules, SendToAll
from .visitor import Refused, Visitor

__all__ = ["SUBPROTOCOL", "Refused", "RoomHandle", "RoomsApp", "RoomsHandle", "RoomsRules", "SendToAll", "Visitor"]
