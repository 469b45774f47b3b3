"""The hub's side of its links to the workers: hellos, questions, and answers that wait until the workers were written to.

The hub reads what all workers sent, and writes to each of them once at the end of that turn of the loop. An answer may depend on frames to
other workers: `answer_when_written` sends it when the sockets of these workers took their frames. A worker is not waited for if its
heartbeat has stopped, nor if it is so far behind that its frames were dropped.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from . import protocol
from .protocol import ANSWER, HELLO, INSTANCE_BYTES, REFUSAL, RESYNC, UNWELCOME, WELCOME, Hello, Malformed, RefusedQuestion, frame
from .stream import CLOSED_BY_OTHER_SIDE, FramedStream, Received

CHECK_SECONDS = 0.25
"""Between two looks which workers are behind, and which hearts still beat."""

SOCKET_BUFFER_BYTES = 1 << 20
"""Asked of the kernel for each link, so that a short pause of a worker fills no queue here. The kernel may give less."""


class WorkerLink:
    """One worker as the hub sees it, from its hello to the end of its socket. `is_new`: its hello has not come yet.

    `send` queues a frame, made by `protocol.frame`. `add` does the same, faster, for a caller that then calls
    `HubServer.answer_when_written`, which flushes all links at the end of the turn. Frames to a worker that was too far behind are dropped
    until it says hello again.
    """

    __slots__ = (
        "_paged", "_paged_at", "add", "answers", "generation", "instance", "is_dropped", "is_new", "needs", "send", "stream", "worker",
    )  # fmt: skip

    add: Callable[[bytes], None]
    send: Callable[[bytes], None]
    stream: FramedStream

    def __init__(self) -> None:
        self.worker = 0
        self.generation = 0
        self.instance = b""
        self.is_new = True
        self.is_dropped = False
        self.answers: list[bytes] = []
        """The answers of this turn that depend on frames to other workers; and in `needs` these workers, for each of them."""
        self.needs: list[Sequence[WorkerLink]] = []
        self._paged = 0  # bytes of the pages of this turn
        self._paged_at = 0  # the bytes that the stream had queued before

    @classmethod
    def of_former_hub(cls, instance: bytes) -> WorkerLink:
        """A stand-in for a worker of the hub that this one succeeds, until that worker has linked itself here. It has no stream."""
        link = cls()
        link.instance = instance
        link.send = link.add = _drop
        return link

    @property
    def unread(self) -> int:
        """Bytes that wait here for this worker to read: those of earlier turns, and the pages of this one."""
        stream = self.stream
        return stream.queued - stream.sent + (self._paged if stream.queued == self._paged_at else 0)

    def paged(self, size: int) -> None:
        """An answer with a page of messages has been sent in this turn."""
        if self.stream.queued != self._paged_at:
            self._paged, self._paged_at = 0, self.stream.queued
        self._paged += size

    def __repr__(self) -> str:
        return f"<link to worker {self.worker}>"


Handler = Callable[[WorkerLink, int, bytes], None]
"""Called with the link, the number of the question (0 if it is none) and the body of each frame of one kind. It answers or refuses now or
later. If it raises `RefusedByHub`, the question is refused; any other error but Malformed is reported, and refused as `internal`."""

Report = Callable[[str, BaseException | None], None]
"""Writes a line to the log, with the traceback of an error if there is one."""


def _drop(frame: bytes) -> None:
    """Take a frame that is not sent."""


class RefusedByHub(Exception):
    """A handler refuses a question."""

    def __init__(self, code: str, text: str, details: bytes = b"") -> None:
        super().__init__(text)
        self.code = code
        self.details = details


class HubServer:
    """All links of the hub. `instance` names this life of the hub.

    `begun` has functions called with a link after each of its hellos, and `ended` with a link that said hello, after its last frame.
    A hello after the first means that the worker declares everything anew. `checked` has functions that are called every CHECK_SECONDS.
    `has_heartbeat` says of the number and the generation of a worker whether its loop turned within the last second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, instance: bytes, has_heartbeat: Callable[[int, int], bool], report: Report) -> None:
        assert len(instance) == INSTANCE_BYTES
        self.instance = instance
        self.loop = loop
        self.links: list[WorkerLink] = []
        """Those that said hello."""
        self.begun: list[Callable[[WorkerLink], None]] = []
        self.ended: list[Callable[[WorkerLink], None]] = []
        self.checked: list[Callable[[], None]] = []
        self._has_heartbeat = has_heartbeat
        self.report = report
        self._handlers: dict[int, Handler] = {HELLO: self._hello}
        self._attached: list[WorkerLink] = []
        self._asked_for_flush = False
        self._answered: list[WorkerLink] = []  # those with answers of this turn
        self._waiting: list[tuple[WorkerLink, bytes, list[tuple[WorkerLink, int]]]] = []  # with the marks that the streams must reach
        self._timer = loop.call_later(CHECK_SECONDS, self._check)
        self._holds = False

    def attach(self, end: socket.socket) -> None:
        """Serve the worker at the other end of this socket."""
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        link = WorkerLink()
        link.stream = FramedStream(
            end, self.loop, self._receiver(link), partial(self._link_ended, link), self._flush_soon, self._look_at_waiting
        )
        link.send = link.stream.send
        link.add = _drop
        self._attached.append(link)
        if self._holds:
            link.stream.hold()

    def handle(self, kind: int, handler: Handler) -> None:
        assert kind not in self._handlers
        self._handlers[kind] = handler

    def replace(self, kind: int, handler: Handler) -> None:
        """Handle the frames of this kind in another way from now on."""
        assert kind in self._handlers
        self._handlers[kind] = handler

    # -- a succession

    def hold(self) -> None:
        """Read from no worker until `go_on`, and write what the hub has for them."""
        self._holds = True
        for link in self._attached:
            link.stream.hold()
        self._flush()

    def go_on(self) -> None:
        self._holds = False
        for link in self._attached:
            link.stream.go_on()

    def has_written(self) -> bool:
        """Whether no frame waits for a worker, and no answer for a frame. Workers that do not read, because they hang or are behind, do
        not count."""
        self._look_at_waiting()
        self._flush()
        return not self._waiting and all(
            link.stream.sent == link.stream.queued or link.is_dropped or not self.has_heartbeat(link) for link in self.links
        )

    # -- writing from handlers

    def tell(self, link: WorkerLink, kind: int, body: bytes) -> None:
        link.send(frame(kind, 0, body))

    def answer(self, link: WorkerLink, request: int, body: bytes) -> None:
        link.send(frame(ANSWER, request, body))

    def refuse(self, link: WorkerLink, request: int, refusal: RefusedQuestion) -> None:
        link.send(frame(REFUSAL, request, refusal.body()))

    def answer_when_written(self, link: WorkerLink, answer: bytes, targets: Sequence[WorkerLink]) -> None:
        """Send a whole frame when the frames that were sent to `targets` so far were written to their sockets."""
        if not link.answers:
            self.will_answer(link)
        link.answers.append(answer)
        link.needs.append(targets)

    def will_answer(self, link: WorkerLink) -> None:
        """The first part of `answer_when_written`, for the first answer of a turn to this link."""
        self._answered.append(link)
        self._flush_soon()

    def has_heartbeat(self, link: WorkerLink) -> bool:
        """Whether the loop of this link's worker turned within the last second."""
        return self._has_heartbeat(link.worker, link.generation)

    def close(self) -> None:
        """Write what the sockets take now, and end all links."""
        self._flush()
        self._timer.cancel()
        for link in self._attached:
            link.stream.close()
            link.add = _drop
        self._attached.clear()
        self.links.clear()

    # -- reading

    def _receiver(self, link: WorkerLink) -> Received:
        """The function that is called with each frame of a link."""
        handlers = self._handlers

        def received(kind: int, request: int, body: bytes) -> None:
            handler = handlers.get(kind)
            if handler is None or ((link.is_new or link.is_dropped) and kind != HELLO):
                if handler is None or link.is_new:
                    raise Malformed(f"kind {kind}")
                return  # the worker asks and tells it again after its next hello
            try:
                handler(link, request, body)
            except RefusedByHub as refusal:
                self.refuse(link, request, RefusedQuestion(refusal.code, str(refusal), refusal.details))
            except Malformed:
                raise
            except Exception as error:
                self._failed(link, kind, request, error)

        return received

    def _failed(self, link: WorkerLink, kind: int, request: int, error: Exception) -> None:
        self.report(f"the hub could not handle a message of kind {kind} from worker {link.worker}", error)
        if request:
            self.refuse(link, request, RefusedQuestion("internal", "the hub could not handle this"))

    def _hello(self, link: WorkerLink, request: int, body: bytes) -> None:
        hello = protocol.read_hello(body)
        if hello.version != protocol.VERSION:
            self.report(f"a worker speaks version {hello.version} of the link's protocol, and the hub version {protocol.VERSION}", None)
            link.stream.send(frame(UNWELCOME, 0, protocol.unwelcome()))
            link.stream.close()
            self._attached.remove(link)
            return
        self._begin(link, hello)

    def _begin(self, link: WorkerLink, hello: Hello) -> None:
        if link.is_new:
            self._end_former(hello)
            link.is_new = False
            self.links.append(link)
        link.worker, link.generation, link.instance = hello.worker, hello.generation, hello.instance
        link.is_dropped = False
        link.stream.resume()
        link.add = link.stream.append
        link.send(frame(WELCOME, 0, protocol.welcome(self.instance)))
        for call in self.begun:
            call(link)

    def _end_former(self, hello: Hello) -> None:
        """End the link of this worker's predecessor, which has died. A process that its app forked may still hold the other end."""
        former = [link for link in self.links if (link.worker, link.generation) == (hello.worker, hello.generation)]
        for link in former:
            link.stream.read_rest()
            if link.stream.is_open:
                link.stream.close()
                self._link_ended(link, CLOSED_BY_OTHER_SIDE, None)

    def _link_ended(self, link: WorkerLink, reason: str, error: BaseException | None) -> None:
        if reason != CLOSED_BY_OTHER_SIDE:
            self.report(f"the link to worker {link.worker} ended: {reason}", error)
        self._attached.remove(link)
        link.add = _drop
        if not link.is_new:
            self.links.remove(link)
            for call in self.ended:
                call(link)
        self._look_at_waiting()

    # -- writing

    def _flush_soon(self) -> None:
        if not self._asked_for_flush:
            self._asked_for_flush = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write the frames of this turn, and then the answers that depend on them.

        If all answers go to one link, its own frames leave with them, in one write.
        """
        self._asked_for_flush = True  # the streams need not wake it
        answered, self._answered = self._answered, []
        only = answered[0] if len(answered) == 1 else None
        for link in self._attached:
            if link is not only:
                link.stream.flush()
        if answered:
            full = {link for link in self._attached if link is not only and link.stream.sent < link.stream.queued}
            for link in answered:
                if full:
                    self._answer_or_wait(link, full)
                else:
                    link.stream.send_all(link.answers)
                link.answers.clear()
                link.needs.clear()
                link.stream.flush()
        self._asked_for_flush = False

    def _answer_or_wait(self, link: WorkerLink, full: set[WorkerLink]) -> None:
        """Send the answers of this turn that depend on no worker in `full`, whose sockets took not all; the others wait."""
        for answer, targets in zip(link.answers, link.needs, strict=True):
            marks = [(target, target.stream.queued) for target in targets if target in full]
            if self._is_written(marks):
                link.send(answer)
            else:
                self._waiting.append((link, answer, marks))

    def _is_written(self, marks: Iterable[tuple[WorkerLink, int]]) -> bool:
        hung = None
        for link, mark in marks:
            if link.stream.sent < mark and link.stream.is_open:
                if self.has_heartbeat(link):
                    return False
                hung = link
        if hung is not None:
            self.report(f"worker {hung.worker} hangs: publications are acknowledged that it has not read yet", None)
        return True

    def _look_at_waiting(self) -> None:
        """Send the answers whose workers were written to by now."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for entry in waiting:
                link, answer, marks = entry
                if self._is_written(marks):
                    link.send(answer)
                elif link.stream.is_open and not link.is_dropped:
                    self._waiting.append(entry)

    def _check(self) -> None:
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check)
        for link in self.links:
            if not link.is_dropped and (reason := link.stream.behind()):
                self.report(f"worker {link.worker} is too slow for the hub and begins its link anew: {reason}", None)
                link.stream.drop(frame(RESYNC, 0, b""))
                link.is_dropped = True
                link.add = _drop
        self._look_at_waiting()
        for call in self.checked:
            call()
