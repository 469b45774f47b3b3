"""The app behind `app = rooms`: it makes a session for each connection, and has the rooms that all of them share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ...brokers.contract import BrokerMaker
from ...core.absence import no_grace
from ...core.connection import Connection
from ...core.handshake import Handshake
from .events import SUBPROTOCOL
from .going_along import can_move_in
from .mount_rooms import Failed, MountRooms, RoomsRules, SendToAll
from .plain import PlainSession
from .subprotocol import JsonSession
from .visitor import Visitor

NO_IDENTITY: Mapping[str, Any] = MappingProxyType({})


class RoomsApp:
    """One mount's app. `rules`, `make_broker`, `send_to_all`, `failed`, `hooks`, `clock` and `grace` are those of MountRooms."""

    subprotocols = (SUBPROTOCOL,)

    def __init__(
        self, rules: RoomsRules, make_broker: BrokerMaker, send_to_all: SendToAll, failed: Failed, hooks: object | None = None, *,
        clock: Callable[[], float] = time.monotonic, grace: Callable[[], float] = no_grace,
    ) -> None:  # fmt: skip
        self.rooms = MountRooms(rules, make_broker, send_to_all, failed, hooks, clock, grace)
        self.keeps_handshake = hooks is not None
        """Hooks are given a visitor's handshake for as long as the connection is open; without hooks the app reads it in `open` alone."""

    async def start(self) -> None:
        await self.rooms.start()

    async def stop(self) -> None:
        await self.rooms.stop()

    def open(self, connection: Connection, handshake: Handshake) -> PlainSession | JsonSession:
        session = self._session(connection, handshake)
        if isinstance(session, PlainSession):
            session.enter(handshake)
        return session

    def can_resume(self, state: bytes) -> bool:
        return can_move_in(self.rooms, state)

    def resume(self, connection: Connection, handshake: Handshake, state: bytes) -> PlainSession | JsonSession:
        """A member of another process. Hooks of the policy let it in there, and are not asked again."""
        session = self._session(connection, handshake)
        session.go_on(state)
        return session

    def _session(self, connection: Connection, handshake: Handshake) -> PlainSession | JsonSession:
        rooms, user = self.rooms, handshake.identity
        room = "/".join([handshake.params[name] for name in rooms.rules.parameters])
        identity = NO_IDENTITY if user is None else {"name": user.name, "method": user.method}
        visitor = None if rooms.policy is None else Visitor(connection.id, handshake)
        account = rooms.broker.account(f"address {handshake.peer.network}" if user is None else f"user {user.name}")
        if handshake.subprotocol == SUBPROTOCOL:
            scope = "" if user is None else user.name
            return JsonSession(rooms, connection, room, identity, scope, visitor, account)
        return PlainSession(rooms, connection, room, identity, visitor, account)
