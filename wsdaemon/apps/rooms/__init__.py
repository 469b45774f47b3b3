"""Rooms: each message that a member publishes goes to every other member, in one order, and a member that misses any is told so.

A client needs no library: it opens a WebSocket on the path of a room, and its messages go to the other members unchanged (`plain`). If it
wants more, it offers the subprotocol rooms.v1.json (`subprotocol`, with its format in `requests` and `events`). `app` makes the sessions,
`mount_rooms` has the parts that they share, `policy` calls the user's hooks, and the program itself publishes through `handle`.
"""

from __future__ import annotations

from .app import RoomsApp
from .events import SUBPROTOCOL
from .handle import RoomHandle, RoomsHandle
from .mount_rooms import RoomsRules, SendToAll
from .visitor import Refused, Visitor

__all__ = ["SUBPROTOCOL", "Refused", "RoomHandle", "RoomsApp", "RoomsHandle", "RoomsRules", "SendToAll", "Visitor"]
