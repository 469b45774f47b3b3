"""A worker's side of the link to the hub: questions and their answers, and the loss and the return of the link."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from . import protocol
from .protocol import ANSWER, HELLO, INSTANCE_BYTES, MAX_QUESTIONS, REFUSAL, RESYNC, UNWELCOME, WELCOME, Hello, Malformed, frame
from .stream import CLOSED_BY_OTHER_SIDE, FramedStream

CHECK_SECONDS = 0.5
"""Between two looks whether the hub reads."""

LINK_SECONDS = 15.0
"""How long a worker whose link the hub has ended waits for another socket. The supervisor starts a hub that has died within 10 s."""


class HubAway(Exception):
    """The hub is not there, or the link ended before it answered. Whether it did what the question asked for is not known."""


class HubRefused(Exception):
    """The hub refused. `code` is stable, the text is for people, `details` is JSON or empty."""

    def __init__(self, code: str, text: str, details: bytes = b"") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


T = TypeVar("T")
MakeError = Callable[[HubAway | HubRefused], Exception]


def _as_it_is(error: HubAway | HubRefused) -> Exception:
    return error


class _Unanswered:
    """A question that waits for its answer."""

    __slots__ = ("error", "future", "read")

    def __init__(self, future: asyncio.Future[Any], read: Callable[[bytes], Any], error: MakeError) -> None:
        self.future = future
        self.read = read
        self.error = error

    def answered(self, kind: int, body: bytes) -> None:
        if kind == ANSWER:
            self.future.set_result(self.read(body))
        else:
            self.future.set_exception(self.error(HubRefused(*protocol.read_refusal(body))))


Handler = Callable[[bytes], None]
"""Called with the body of each frame of one kind."""


class HubClient:
    """The link of one worker to the hub. It exists for as long as the worker; sockets come and go.

    `attach` gives it a socket, at the start and whenever the supervisor has a new hub. `lost` has functions that are called with the reason
    when the link is lost, after all questions that wait have failed with HubAway; `returned` has functions that are called when the hub
    has welcomed the worker, at the start too. The argument of those says whether this hub is the one of the last time: then it still
    has its rooms, but it has freed everything that this worker held, so members and places must be declared again in any case.
    `broken` has functions that are called with the reason when the link has ended for good: at once if a frame could not be handled here,
    and LINK_SECONDS after the hub's end of it if no other socket came. Such a worker can serve no rooms, and should be replaced.
    `report` is called with lines for the log.
    """

    def __init__(self, worker: int, generation: int, loop: asyncio.AbstractEventLoop, report: Callable[[str], None]) -> None:
        self.worker = worker
        self.is_there = False
        """Whether the hub has welcomed this worker and the link stands."""
        self.lost: list[Callable[[str], None]] = []
        self.returned: list[Callable[[bool], None]] = []
        self.broken: list[Callable[[str], None]] = []
        self.loop = loop
        self._report = report
        hello = Hello(protocol.VERSION, worker, generation, secrets.token_bytes(INSTANCE_BYTES))
        self._hello_frame = frame(HELLO, 0, hello.body())
        self._handlers: dict[int, Handler] = {}
        self._questions: dict[int, _Unanswered] = {}
        self._last_request = 0
        self._stream: FramedStream | None = None
        self._hub: bytes | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._breaking: asyncio.TimerHandle | None = None

    def attach(self, end: socket.socket) -> None:
        """Say hello to the hub at the other end of this socket. A former socket is closed, and its link lost.

        The frames that the former hub sent are handled first, because their publishers may have their answers already.
        """
        if self._stream is not None:
            self._stream.read_rest()
        former, self._stream = self._stream, None
        if former is not None:
            former.close()
        self._keep()
        self._lose("the hub is replaced")
        stream = FramedStream(end, self.loop, self._received, lambda reason, error: self._ended(stream, reason))
        self._stream = stream
        self._say_hello()
        if self._timer is None:
            self._timer = self.loop.call_later(CHECK_SECONDS, self._check)

    def handle(self, kind: int, handler: Handler) -> None:
        """Call `handler` with the body of each frame of this kind that is no answer."""
        assert kind not in self._handlers
        self._handlers[kind] = handler

    def ask(self, kind: int, body: bytes, read: Callable[[bytes], T], error: MakeError = _as_it_is) -> asyncio.Future[T]:
        """Ask the hub. The future has the answer, which `read` makes of its body, or the error HubRefused or HubAway.

        `error` makes another error of those. The future may be cancelled.
        """
        future: asyncio.Future[T] = self.loop.create_future()
        stream = self._stream
        if stream is None or not self.is_there:
            future.set_exception(error(HubAway("the hub is away")))
        elif len(self._questions) >= MAX_QUESTIONS:
            future.set_exception(error(HubAway(f"{MAX_QUESTIONS} questions wait for the hub")))
        else:
            self._last_request = request = self._last_request % 0xFFFFFFFF + 1
            self._questions[request] = _Unanswered(future, read, error)
            stream.send(frame(kind, request, body))
        return future

    def tell(self, kind: int, body: bytes = b"") -> bool:
        """Tell the hub something that has no answer. Whether the link stands now; if not, nothing is sent."""
        if self._stream is None or not self.is_there:
            return False
        self._stream.send(frame(kind, 0, body))
        return True

    def begin_anew(self, reason: str) -> None:
        """Treat the link as lost, and say hello again. Nothing happens if it is lost already."""
        if self.is_there:
            self._lose(reason)
            self._say_hello()

    def close(self) -> None:
        """End the link. `lost` is told as at every end, `broken` is not."""
        self._keep()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lose("this worker ends", report=False)

    # -- called by the stream and the loop

    def _received(self, kind: int, request: int, body: bytes) -> None:
        if kind == WELCOME:
            self._welcomed(protocol.read_welcome(body))
        elif not self.is_there and kind != UNWELCOME:
            return  # sent before the hub read the hello
        elif kind in (ANSWER, REFUSAL):
            question = self._questions.pop(request, None)
            if question is not None and not question.future.done():
                question.answered(kind, body)
        elif (handler := self._handlers.get(kind)) is not None:
            handler(body)
        elif kind == RESYNC:
            self.begin_anew("this worker was too slow for the hub")
        elif kind == UNWELCOME:
            version = protocol.read_unwelcome(body)
            self._report(f"the hub speaks version {version} of the link's protocol, and this worker version {protocol.VERSION}")
        else:
            raise Malformed(f"kind {kind}")

    def _welcomed(self, hub: bytes) -> None:
        same, self._hub = hub == self._hub, hub
        self.is_there = True
        for call in list(self.returned):
            call(same)

    def _say_hello(self) -> None:
        if self._stream is not None:
            self._stream.send(self._hello_frame)

    def _ended(self, stream: FramedStream, reason: str) -> None:
        if stream is self._stream:
            self._stream = None
            wait = LINK_SECONDS if reason == CLOSED_BY_OTHER_SIDE else 0.0  # a hub that lives gets no other socket
            self._breaking = self.loop.call_later(wait, self._break, reason)
            self._lose(f"the link to the hub ended: {reason}")

    def _break(self, reason: str) -> None:
        for call in list(self.broken):
            call(reason)

    def _keep(self) -> None:
        """The link is not broken, or this worker ends anyway."""
        if self._breaking is not None:
            self._breaking.cancel()
            self._breaking = None

    def _lose(self, reason: str, report: bool = True) -> None:
        was_there, self.is_there = self.is_there, False
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.future.done():
                question.future.set_exception(question.error(HubAway(reason)))
        if was_there:
            if report:
                self._report(reason)
            for call in list(self.lost):
                call(reason)

    def _check(self) -> None:
        """Begin anew with a hub that does not read. Its answers to the questions before come to nothing."""
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check)
        if self._stream is not None and self.is_there and (reason := self._stream.behind()):
            self._stream.drop(self._hello_frame)
            self._stream.resume()
            self._lose(f"the hub is too slow: {reason}")
