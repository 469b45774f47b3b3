"""The frames of one connection, for a viewer on the WebSocket of the live figures (see `feed`) whose token has the role operate.

    viewer  {"token": "...", "tap": {"connection": ID, "payload": false}}
    feed    {"tap": {"id": ID, ...}, "payload": false}    once: the connection, as the list of connections describes it
            {"frames": [{...}, ...], "dropped": 0}        see taps.frame_record; `dropped` frames came after them
            {"over": "the connection has ended: 1000"}    and then the Close frame; "again": true if the connection itself may go on

The log has a line for each tap that begins or ends, at most one a minute for each connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol

from twisted.logger import Logger
from twisted.python.failure import Failure

from ...core.closing import INTERNAL_ERROR, NORMAL, POLICY_VIOLATION, TRY_AGAIN_LATER
from ...core.rare_lines import LineLog, RareLines
from ...core.seen_frame import MOVED
from ...settings.admin import TokenRole
from ..taps import ENDED, FULL, WORKER_ENDED, OpenedTap, Taken, Taps, new_key
from ..workers import WorkersAway

SECONDS = 0.25
"""Between two looks at the taps."""

TAP_OFF = 4403
"""The close code if [admin] tap does not permit it; as 403."""

NO_CONNECTION = 4404
"""The close code if no open connection has the id; as 404."""

TOO_MANY = 4429
"""The close code if too many taps are open; as 429."""

LONGEST_ID = 64
"""Characters of a connection's id."""


class Viewer(Protocol):
    """The connection of a viewer."""

    @property
    def viewer(self) -> str: ...

    @property
    def slow(self) -> bool: ...

    def push(self, line: bytes, always: bool = False, /) -> None: ...

    def close(self, code: int, reason: str, /) -> None: ...

    def look_at_token(self, role: TokenRole, /) -> None: ...


class TapFeed:
    """All viewers of taps in this process."""

    def __init__(self, taps: Taps, permitted: str, log: LineLog | None = None) -> None:
        """`permitted` is `[admin] tap`: off, on or payload."""
        self._taps = taps
        self._permitted = permitted
        self._lines = RareLines(log or Logger(namespace="wsdaemon.admin"))
        self._opening: dict[Viewer, asyncio.Task[None]] = {}
        self._viewers: dict[Viewer, tuple[str, str]] = {}
        """By viewer: the key of the tap, and the connection's id."""
        self._ticking: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._viewers) + len(self._opening)

    def join(self, viewer: Viewer, wanted: object) -> None:
        """A viewer, whose token was looked at, wants the frames of a connection."""
        id = wanted.get("connection") if isinstance(wanted, dict) else None
        payload = wanted.get("payload", False) if isinstance(wanted, dict) else False
        if not isinstance(id, str) or not 0 < len(id) <= LONGEST_ID or not isinstance(payload, bool):
            viewer.close(POLICY_VIOLATION, "expected tap: {connection: ID, payload: true or false}")
        elif self._permitted == "off":
            viewer.close(TAP_OFF, "[admin] tap is off: set tap = on")
        elif payload and self._permitted != "payload":
            viewer.close(TAP_OFF, "[admin] tap = on shows no payloads: set tap = payload")
        else:
            self._opening[viewer] = asyncio.get_running_loop().create_task(self._open(viewer, id, payload))

    def leave(self, viewer: Viewer) -> None:
        """A viewer looks no more."""
        opening, found = self._opening.pop(viewer, None), self._viewers.pop(viewer, None)
        if opening is not None:
            opening.cancel()  # a tap that was opened all the same ends because it is not asked
        if found is not None:
            key, id = found
            self._lines.info(("ended", id), "the frames of connection {id} are shown to {viewer} no more", id=id, viewer=viewer.viewer)
            task = asyncio.get_running_loop().create_task(self._close(key))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if not self._viewers and self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def close(self, code: int, reason: str) -> None:
        """End all of them, and the taps at connections of this process whose viewers are elsewhere."""
        for viewer in [*self._opening, *self._viewers]:
            viewer.close(code, reason)
        self._taps.close_all()

    async def _open(self, viewer: Viewer, id: str, payload: bool) -> None:
        key = new_key()
        try:
            opened = await self._taps.open(id, key, payload)
        except WorkersAway as error:
            viewer.close(TRY_AGAIN_LATER, str(error))
            return
        except Exception:
            self._lines.failure("open", "a tap could not be opened", Failure())
            viewer.close(INTERNAL_ERROR, "internal error")
            return
        if self._opening.pop(viewer, None) is None:
            return
        if opened.refused:
            _refuse(viewer, opened)
            return
        self._viewers[viewer] = key, id
        text = "the frames of connection {id} are shown to {viewer} {payloads} payloads"
        self._lines.info(("shown", id), text, id=id, viewer=viewer.viewer, payloads="with" if payload else "without")
        viewer.push(_line({"tap": opened.connection, "payload": payload}), True)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _close(self, key: str) -> None:
        try:
            await self._taps.close([key])
        except WorkersAway:
            return  # it ends because it is not asked any more
        except Exception:
            self._lines.failure("close", "a tap could not be closed", Failure())

    async def _tick(self) -> None:
        while True:
            for viewer in list(self._viewers):
                viewer.look_at_token(TokenRole.OPERATE)
            keys = {key: viewer for viewer, (key, _) in self._viewers.items()}
            slow = {key for key, viewer in keys.items() if viewer.slow}
            try:
                taken = await self._taps.take([key for key in keys if key not in slow], slow)
            except WorkersAway:
                taken = {}
            except Exception:
                self._lines.failure("take", "the frames of taps could not be had", Failure())
                taken = {}
            for key, found in taken.items():
                if keys[key] in self._viewers:
                    _show(keys[key], found)
            await asyncio.sleep(SECONDS)


def _refuse(viewer: Viewer, opened: OpenedTap) -> None:
    if opened.refused == FULL:
        viewer.close(TOO_MANY, "too many taps are open")
    else:
        viewer.close(NO_CONNECTION, "no open connection has this id")


def _show(viewer: Viewer, found: Taken) -> None:
    if found.frames or found.dropped:
        viewer.push(_line({"frames": found.frames, "dropped": found.dropped}), True)
    if found.over is not None:
        again = {"again": True} if found.over in (ENDED, MOVED, WORKER_ENDED) else {}
        viewer.push(_line({"over": found.over, **again}), True)
        viewer.close(NORMAL, "")


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
