"""Taps: an operator looks at the frames of one connection as they pass, without their payloads unless the daemon permits it.

A tap keeps what it has seen until it is asked, up to a bound; later frames are counted and dropped. It is over with its connection, when
it is closed, and when it was not asked for a while. So a viewer in another process needs no line of its own to it: it asks by
way of the supervisor, as all questions to other workers do (see `workers`).
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.connection import Connection
from ..core.registry import Connections
from ..core.seen_frame import FrameWatcher, SeenFrame
from .connections import described
from .workers import Workers, WorkersAway

MAX_TAPS = 8
"""Taps that may be open at once, in each process."""

MAX_FRAMES = 2000
"""Frames that wait in one tap. Later ones are dropped, and counted."""

MAX_BYTES = 512 * 1024
"""Bytes of payload that wait in one tap, as MAX_FRAMES."""

PAYLOAD_BYTES = 4096
"""The beginning of a payload that a tap shows, if it shows payloads at all."""

UNASKED_SECONDS = 10.0
"""A tap ends if it is not asked for so long."""

TAP = "tap"
"""The question to a worker: {"open": ID, "key": KEY, "payload": BOOL}, {"take": [KEY], "hold": [KEY]} or {"close": [KEY]}."""

NO_CONNECTION = "no_connection"
FULL = "full"

ENDED = "the tap has ended"
"""The reason of a tap that was not asked for a while, or that ended with settings."""

WORKER_ENDED = "its worker has ended"
"""The reason of a tap in another process that is not there any more. After an upgrade the connection goes on in its successor."""


@dataclass(frozen=True, slots=True)
class OpenedTap:
    """A tap was opened, or the reason why not: one of the constants above."""

    refused: str = ""
    connection: Mapping[str, Any] = field(default_factory=dict)
    """Its description, see `connections.described`."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The frames that a tap has seen since it was asked the last time, as `frame_record` makes them."""

    frames: list[dict[str, Any]]
    dropped: int
    """Frames for which there was no room. They come after `frames`."""
    over: str | None = None
    """Why no more follow."""


class Taps(Protocol):
    """All taps of the daemon, in whichever process their connections are."""

    def open(self, id: str, key: str, payload: bool) -> Awaitable[OpenedTap]:
        """Open a tap at the connection with this id. `key`: its name, by which it is asked. WorkersAway."""

    def take(self, keys: Iterable[str], hold: Iterable[str]) -> Awaitable[dict[str, Taken]]:
        """The frames that these taps have seen. Those in `hold` keep theirs, because their viewers are slow.

        A tap whose worker cannot be asked now is missing, and keeps its frames.
        """

    def close(self, keys: Iterable[str]) -> Awaitable[None]:
        """End these taps. WorkersAway."""

    def close_all(self) -> None:
        """End all taps at connections of this process: the settings have changed."""


Watching = Callable[[Connection, FrameWatcher], bool]


class _Tap:
    """The frames that one tap has seen: core.seen_frame.FrameWatcher."""

    def __init__(self, connection: Connection, payload: bool, wall: Callable[[], float], asked_at: float) -> None:
        self.connection = connection
        self.keep = PAYLOAD_BYTES if payload else 0
        self.asked_at = asked_at
        self.reason: str | None = None
        self._wall = wall
        self._frames: list[dict[str, Any]] = []
        self._bytes = 0
        self._dropped = 0

    def seen(self, incoming: bool, frame: SeenFrame) -> None:
        if self._dropped or len(self._frames) >= MAX_FRAMES or self._bytes >= MAX_BYTES:
            self._dropped += 1
            return
        self._bytes += min(self.keep, len(frame.beginning if frame.inflated is None else frame.inflated.beginning))
        self._frames.append(frame_record(self._wall(), incoming, frame, self.keep))

    def over(self, reason: str) -> None:
        connection = self.connection
        code = connection.close_code
        self.reason = reason if code is None else f"the connection has ended: {code} {connection.close_reason}".rstrip()

    def take(self) -> Taken:
        taken = Taken(self._frames, self._dropped, self.reason)
        self._frames, self._bytes, self._dropped = [], 0, 0
        return taken


def frame_record(now: float, incoming: bool, frame: SeenFrame, keep: int) -> dict[str, Any]:
    """A frame as JSON values. `now` in seconds since 1970. Without `keep` the payload is left out, but for the code of a Close frame."""
    record: dict[str, Any] = {
        "time": round(now, 6), "direction": "in" if incoming else "out", "type": frame.kind, "opcode": frame.opcode, "size": frame.size,
        "final": frame.final, "compressed": frame.compressed,
    }  # fmt: skip
    if frame.opcode == 8 and len(frame.beginning) >= 2:
        record["code"] = int.from_bytes(frame.beginning[:2])
    if keep:
        shown = frame.beginning[:keep]
        cut = frame.size > len(shown)
        if frame.inflated is not None:
            shown, cut = frame.inflated.beginning[:keep], frame.inflated.cut or len(frame.inflated.beginning) > keep
            record["inflated"] = True
        wire_form = frame.compressed and frame.inflated is None
        text = None if wire_form or frame.opcode == 2 else _text(shown[2:] if frame.opcode == 8 else shown, cut)
        record |= {"payload": base64.b64encode(shown).decode(), "encoding": "base64"} if text is None else {"payload": text}
        if cut:
            record["cut"] = True
    return record


def _text(data: bytes, cut: bool) -> str | None:
    """The text in UTF-8; None if it is none. `cut`: its last character may be incomplete."""
    for end in range(len(data), max(len(data) - 4, -1) if cut else len(data) - 1, -1):
        try:
            return data[:end].decode()
        except UnicodeDecodeError:
            continue
    return None


class OwnTaps:
    """The taps at connections of this process."""

    def __init__(
        self, connections: Connections, watch: Watching, unwatch: Callable[[Connection, FrameWatcher], None], *,
        kept_out: Callable[[Connection], bool] = lambda connection: False, wall: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """`watch` and `unwatch` are those of wire.watched. `kept_out`: connections that cannot be tapped. `wall`: seconds since 1970."""
        self._connections = connections
        self._watch = watch
        self._unwatch = unwatch
        self._kept_out = kept_out
        self._wall = wall
        self._taps: dict[str, _Tap] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._taps)

    async def open(self, id: str, key: str, payload: bool) -> OpenedTap:
        """As Taps.open."""
        connection = self._connections.get(id)
        if connection is None or self._kept_out(connection):
            return OpenedTap(NO_CONNECTION)
        if len(self._taps) >= MAX_TAPS:
            return OpenedTap(FULL)
        loop = asyncio.get_running_loop()
        tap = _Tap(connection, payload, self._wall, loop.time())
        if not self._watch(connection, tap):
            return OpenedTap(NO_CONNECTION)
        self._taps[key] = tap
        if self._timer is None:
            self._timer = loop.call_later(UNASKED_SECONDS, self._look, loop)
        return OpenedTap(connection=described(connection, self._wall() - time.monotonic()))

    async def take(self, keys: Iterable[str], hold: Iterable[str]) -> dict[str, Taken]:
        """As Taps.take. A tap that is not there any more is over, too: its viewer must not wait for ever."""
        now, found = asyncio.get_running_loop().time(), {}
        for key in hold:
            if key in self._taps:
                self._taps[key].asked_at = now
        for key in keys:
            tap = self._taps.get(key)
            if tap is None:
                found[key] = Taken([], 0, ENDED)
                continue
            tap.asked_at = now
            found[key] = tap.take()
            if tap.reason is not None:
                self._end(key)
        return found

    async def close(self, keys: Iterable[str]) -> None:
        """As Taps.close."""
        for key in keys:
            self._end(key)

    def close_all(self) -> None:
        """As Taps.close_all."""
        for key in list(self._taps):
            self._end(key)

    def _end(self, key: str) -> None:
        tap = self._taps.pop(key, None)
        if tap is not None:
            self._unwatch(tap.connection, tap)
        if not self._taps and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for key, tap in list(self._taps.items()):
            if now - tap.asked_at >= UNASKED_SECONDS:
                self._end(key)
        if self._taps:
            self._timer = loop.call_later(UNASKED_SECONDS, self._look, loop)


class TapsOfAll:
    """The taps at connections of all workers, seen from one of them."""

    def __init__(self, own: OwnTaps, workers: Workers) -> None:
        self._own = own
        self._workers = workers
        self._homes: dict[str, tuple[str, int]] = {}
        """By key: the number and the process of a tap's worker, if that is another one."""
        workers.provide(TAP, self._answer)

    async def open(self, id: str, key: str, payload: bool) -> OpenedTap:
        """As Taps.open."""
        opened = await self._own.open(id, key, payload)
        if opened.refused != NO_CONNECTION:
            return opened
        found = await self._workers.gather(TAP, {"open": id, "key": key, "payload": payload}, None)
        pids = {str(one.number): one.pid for one in found.workers}
        for number, answer in found.answers.items():
            if answer is not None and answer["refused"] != NO_CONNECTION:
                if not answer["refused"]:
                    self._homes[key] = number, pids.get(number, 0)
                return OpenedTap(answer["refused"], {**answer["connection"], "worker": int(number)})
        return opened

    async def take(self, keys: Iterable[str], hold: Iterable[str]) -> dict[str, Taken]:
        """As Taps.take. The others are asked first, so that no frame of an own connection is lost if one of them fails."""
        hold = list(hold)
        own, away = list[str](), list[str]()
        for key in keys:
            (away if key in self._homes else own).append(key)
        held = [key for key in hold if key in self._homes]
        others = await self._take_away(away, held) if away or held else {}
        return {**await self._own.take(own, hold), **others}

    async def _take_away(self, keys: Sequence[str], hold: Sequence[str]) -> dict[str, Taken]:
        """As take(), of taps at connections of other workers."""
        try:
            found = await self._workers.gather(TAP, {"take": keys, "hold": hold}, None)
        except WorkersAway:
            return {}
        processes, taken = {(str(one.number), one.pid) for one in found.workers}, {}
        for key in keys:
            home = self._homes.get(key)  # None: its viewer has left meanwhile
            answer = None if home is None else found.answers.get(home[0])
            if home is not None and home not in processes:
                taken[key] = Taken([], 0, WORKER_ENDED)
            elif answer is not None:
                taken[key] = Taken(*answer[key])
            if key in taken and taken[key].over is not None:
                del self._homes[key]
        return taken

    async def close(self, keys: Iterable[str]) -> None:
        """As Taps.close."""
        keys = list(keys)
        await self._own.close(keys)
        away = [key for key in keys if self._homes.pop(key, None) is not None]
        if away:
            await self._workers.gather(TAP, {"close": away}, None)

    def close_all(self) -> None:
        """As Taps.close_all. The other workers do the same."""
        self._own.close_all()

    async def _answer(self, question: Mapping[str, Any]) -> Any:
        own = self._own
        if "open" in question:
            opened = await own.open(question["open"], question["key"], question["payload"])
            return {"refused": opened.refused, "connection": opened.connection}
        if "close" in question:
            await own.close(question["close"])
            return None
        found = await own.take(question["take"], question["hold"])
        return {key: [taken.frames, taken.dropped, taken.over] for key, taken in found.items()}


def new_key() -> str:
    """The name of a new tap, which no other process knows."""
    return secrets.token_hex(8)
