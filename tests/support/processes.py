"""Programs for tests of the app process: what a machine has of them, and a connection that writes down what it is sent."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tests.support.inside import descriptors
from wsdaemon.apps.process.child import Launch
from wsdaemon.core.connection import READY
from wsdaemon.core.handshake import Handshake, Headers, Peer

SECONDS = 30.0
"""The longest that a test waits."""


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run it on a new loop. No descriptor and no child is left afterwards that was not there before: fixtures keep servers."""
    gc.collect()  # objects of earlier tests must not close their descriptors between the two counts
    before, kept = descriptors(), set(children())

    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await story

    asyncio.run(bounded(), debug=False)
    assert descriptors() == before
    assert set(children()) <= kept


def children() -> list[int]:
    """The processes whose parent is this one, zombies included."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found]


def group_members(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            found.append(int(path.parent.name))
    return found


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until `condition` holds; the timeout of run() ends a test that waits in vain."""
    while not condition():  # noqa: ASYNC110 - programs of the system tell of nothing
        await asyncio.sleep(0.002)


def launch(*argv: str, stop_timeout: float = 20.0, limits: str = "") -> Launch:
    return Launch(executable="/bin/sh", argv=("sh", "-c", *argv), directory=None, stop_timeout=stop_timeout, limits=limits)


class Slow:
    """An awaitable that is done when the test says so."""

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def __await__(self) -> Any:
        return self.future.__await__()


class FakeConnection:
    """The parts of a connection that apps use which host programs."""

    def __init__(self, id: str = "c-1") -> None:
        self.id = id
        self.handshake = handshake()
        self.sent: list[tuple[bytes, bool]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.is_open = True
        self.slow: Slow | None = None
        self._over = asyncio.get_running_loop().create_future()

    @property
    def texts(self) -> list[str]:
        return [payload.decode() for payload, text in self.sent if text]

    def send_payload(self, payload: bytes, text: bool) -> Awaitable[None]:
        self.sent.append((payload, text))
        return READY if self.slow is None else self.slow

    def prepare(self, payload: bytes, text: bool) -> Any:
        return payload, text

    def send_prepared(self, prepared: Any) -> None:
        self.sent.append(prepared)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.is_open:
            self.is_open, self.close_reason = False, reason
            self.close_code = code
            self._over.set_result(None)

    async def wait_closed(self) -> None:
        await asyncio.shield(self._over)


def handshake(path: str = "/p", query: bytes = b"") -> Handshake:
    headers = Headers([(b"host", b"example.org"), (b"x-color", b"red"), (b"x-color", b"blue"), (b"proxy", b"x")])
    return Handshake(
        target=path, path=path, raw_path=path.encode(), query_string=query, headers=headers, mount=path, peer=Peer("192.0.2.7", 50123)
    )


def no_kill(group: int, number: int) -> None:
    """os.killpg for a program of another user."""
    raise PermissionError(1, "Operation not permitted")
