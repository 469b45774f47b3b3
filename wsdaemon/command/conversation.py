"""One connection of `connect`: input from a pipe or a terminal, messages to the output, and the end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ..client import ClientClosed, WebSocketClient
from ..core.closing import NORMAL
from .client_options import failure_of
from .exits import CommandFailed, Exit
from .showing import is_good

if TYPE_CHECKING:
    from .prompt import Prompt

PIECE_BYTES = 64 * 1024
"""The most bytes of a pipe in one binary message."""

LONGEST_LINE = 16 * 1024 * 1024
"""Bytes of one line of a pipe."""

POLL_SECONDS = 0.02
"""How often the end of standard input looks whether all was sent."""

HELP = "/close [CODE [REASON]] closes; /binary HEX sends bytes; /help shows this; // at the beginning of a line sends one /"


class Shown(Protocol):
    """The output of a conversation."""

    def opened(self, client: WebSocketClient, /) -> None: ...

    def message(self, message: str | bytes, /) -> None: ...

    def closed(self, code: int, reason: str, clean: bool, /) -> None: ...


class BadInput(ValueError):
    """A line of the input that cannot be sent."""


class Conversation:
    """Input is read in a thread of its own, which waits until the client has taken each message: nothing piles up."""

    def __init__(self, shown: Shown, *, binary: bool, linger: float = 0.0, prompt: Prompt | None = None) -> None:
        """`linger`: seconds to stay after the end of the input. `prompt`: the input is a terminal."""
        self._shown = shown
        self._binary = binary
        self._linger = linger
        self._prompt = prompt
        self._ending: asyncio.Task[None] | None = None
        self._closed: tuple[int, bool] | None = None
        self._failure: CommandFailed | None = None

    def callbacks(self) -> dict[str, Callable[..., object]]:
        """The callbacks of the client."""
        return {"on_open": self._on_open, "on_message": self._on_message, "on_close": self._on_close, "on_error": self._on_error}

    def hold(self, client: WebSocketClient) -> int:
        """Connect, talk and close; the exit status. CommandFailed if the server was not reached."""
        kept = contextlib.nullcontext() if self._prompt is None else self._prompt.kept()
        with kept, contextlib.suppress(Exception):  # a failure is told by on_error, and the client's error is the same
            client.run_forever()
        if self._failure is not None:
            raise self._failure
        if self._closed is None:
            raise failure_of(client.error or ClientClosed("the client was closed before it was open"))
        code, clean = self._closed
        return Exit.DONE if is_good(code, clean) else Exit.LOST

    def _on_open(self, client: WebSocketClient) -> None:
        self._shown.opened(client)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(client, loop), name="wsdaemon-input", daemon=True).start()

    def _on_message(self, client: WebSocketClient, message: str | bytes) -> None:
        try:
            self._shown.message(message)
        except BrokenPipeError:  # the reader of our output has enough
            self._failure = CommandFailed("standard output is closed")
            client.close()

    def _on_close(self, client: WebSocketClient, code: int, reason: str) -> None:
        self._closed = (code, client.closed_cleanly)
        self._shown.closed(code, reason, client.closed_cleanly)

    def _on_error(self, client: WebSocketClient, error: BaseException) -> None:
        """A failed attempt is told at the end. A failure of a callback of ours is a fault, and is told too."""
        self._failure = self._failure or failure_of(error)
        client.close()

    # -- the thread of the input

    def _read(self, client: WebSocketClient, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for message in self._messages(client):
                asyncio.run_coroutine_threadsafe(_sent(client, message), loop).result()
        except (ClientClosed, CancelledError, RuntimeError):
            return  # the connection is over, and so is the loop, perhaps
        except (BadInput, OSError) as error:
            self._failure = CommandFailed(str(error))
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._end, client)

    def _messages(self, client: WebSocketClient) -> Iterator[str | bytes]:
        """The messages of the input."""
        if self._prompt is not None:
            for line in self._prompt.lines():
                yield from self._typed(client, line)
        elif self._binary:
            yield from iter(partial(os.read, sys.stdin.fileno(), PIECE_BYTES), b"")
        else:
            yield from _lines(iter(partial(sys.stdin.buffer.readline, LONGEST_LINE + 1), b""))

    def _typed(self, client: WebSocketClient, line: str) -> Iterable[str | bytes]:
        """The messages of one line that was typed."""
        if line.startswith("/") and not line.startswith("//"):
            return self._obey(client, line)
        text = line[1:] if line.startswith("//") else line
        return [text.encode("utf-8", "surrogateescape") if self._binary else text]

    def _obey(self, client: WebSocketClient, line: str) -> list[str | bytes]:
        """Obey a command that was typed; the messages that it sends."""
        name, _, rest = line[1:].partition(" ")
        assert self._prompt is not None
        try:
            if name == "close":
                code, _, reason = rest.partition(" ")
                client.close(int(code or NORMAL), reason)
            elif name == "binary":
                return [bytes.fromhex(rest)]
            else:
                self._prompt.above(HELP)
        except ValueError as error:
            self._prompt.above(f"/{name}: {error}")
        return []

    # -- the end of the input

    def _end(self, client: WebSocketClient) -> None:
        self._ending = asyncio.get_running_loop().create_task(self._close(client))

    async def _close(self, client: WebSocketClient) -> None:
        """Close once everything was sent, after the time to stay."""
        while client.queued and client.is_open:  # noqa: ASYNC110 - the client has no event of its empty queue
            await asyncio.sleep(POLL_SECONDS)
        await asyncio.sleep(self._linger)
        client.close()


async def _sent(client: WebSocketClient, message: str | bytes) -> None:
    await client.send(message)


def _lines(lines: Iterable[bytes]) -> Iterator[str]:
    """The lines of a pipe as text, without their ends. BadInput."""
    for number, line in enumerate(lines, start=1):
        if len(line) > LONGEST_LINE:
            raise BadInput(f"line {number} of standard input is longer than {LONGEST_LINE} bytes")
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise BadInput(f"line {number} of standard input is not UTF-8: --binary sends bytes") from None
