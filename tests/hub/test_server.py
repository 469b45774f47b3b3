"""The hub's side of the links: hellos, refusals, answers that wait until other workers were written to, and workers that are too slow."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.inside import until
from tests.support.links import End, ShiftedLoop, run
from wsdaemon.hub import protocol
from wsdaemon.hub import server as server_module
from wsdaemon.hub.protocol import ANSWER, HELLO, MAX_BACKLOG_BYTES, REFUSAL, RESYNC, UNWELCOME, WELCOME, Hello, Malformed, frame
from wsdaemon.hub.server import HubServer, RefusedByHub, WorkerLink

ASKED, TOLD, NEVER = 70, 71, 99


class Hub:
    """A hub whose workers are bare streams, and the events that it reported."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lines: list[str] = []
        self.errors: list[BaseException | None] = []
        self.events: list[tuple[str, int]] = []
        self.silent: set[int] = set()
        self.server = HubServer(loop, b"the-hub-", lambda number, generation: number not in self.silent, self._report)
        self.server.begun.append(lambda link: self.events.append(("begun", link.worker)))
        self.server.ended.append(lambda link: self.events.append(("ended", link.worker)))
        self.asked: list[tuple[WorkerLink, int, bytes]] = []
        self.server.handle(ASKED, lambda *question: self.asked.append(question))

    def _report(self, line: str, error: BaseException | None) -> None:
        self.lines.append(line)
        self.errors.append(error)

    def attach(self) -> End:
        ours, theirs = socket.socketpair()
        self.server.attach(ours)
        return End(theirs, self.loop)

    async def worker(self, number: int) -> End:
        end = self.attach()
        end.stream.send(frame(HELLO, 0, Hello(protocol.VERSION, number, 1, b"instance").body()))
        await until(lambda: end.bodies(WELCOME))
        return end

    def link(self, number: int) -> WorkerLink:
        return next(link for link in self.server.links if link.worker == number)

    def close(self, *ends: End) -> None:
        self.server.close()
        for end in ends:
            end.stream.close()


def test_a_worker_is_welcome_and_its_end_is_told_after_its_last_frame() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        end = await hub.worker(3)
        assert protocol.read_welcome(end.bodies(WELCOME)[0]) == b"the-hub-"
        link = hub.link(3)
        assert (link.worker, link.generation, link.instance) == (3, 1, b"instance")
        end.stream.send(frame(ASKED, 7, b"the last words"))
        end.stream.close()
        await until(lambda: ("ended", 3) in hub.events)
        assert [body for _, _, body in hub.asked] == [b"the last words"]
        assert hub.events == [("begun", 3), ("ended", 3)]
        assert hub.server.links == []
        assert hub.lines == []
        hub.server.answer(link, 7, b"to a worker that has ended")
        hub.close()

    run(work)


def test_a_worker_of_another_version_is_told_so_and_not_served() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        end = hub.attach()
        end.stream.send(frame(HELLO, 0, b"\x07\x00of the future"))
        await until(lambda: end.ends)
        assert protocol.read_unwelcome(end.bodies(UNWELCOME)[0]) == protocol.VERSION
        assert "version 7" in hub.lines[0]
        assert hub.events == []
        hub.close(end)

    run(work)


@pytest.mark.parametrize("kind", [NEVER, ASKED])
def test_a_frame_that_does_not_belong_there_ends_the_link(kind: int) -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        end = hub.attach() if kind == ASKED else await hub.worker(1)
        end.stream.send(frame(kind, 0, b""))
        await until(lambda: end.ends)
        assert f"kind {kind}" in hub.lines[0]
        assert isinstance(hub.errors[0], Malformed)
        assert hub.asked == []
        hub.close(end)

    run(work)


def test_questions_are_answered_and_refused() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        end = await hub.worker(1)

        def refuse(link: WorkerLink, request: int, body: bytes) -> None:
            raise RefusedByHub("not_now", "ask again", b"{}")

        def fail(link: WorkerLink, request: int, body: bytes) -> None:
            raise LookupError("a fault")

        hub.server.handle(80, refuse)
        hub.server.handle(81, fail)
        for request, kind in enumerate((ASKED, 80, 81), 1):
            end.stream.send(frame(kind, request, b"?"))
        await until(lambda: hub.asked)
        hub.server.answer(hub.asked[0][0], 1, b"!")
        await until(lambda: len(end.frames) == 4)
        assert (ANSWER, 1, b"!") in end.frames
        refusals = {request: protocol.read_refusal(body) for kind, request, body in end.frames if kind == REFUSAL}
        assert refusals[2] == ("not_now", "ask again", b"{}")
        assert refusals[3].code == "internal"
        assert isinstance(hub.errors[0], LookupError)
        hub.close(end)

    run(work)


def test_an_answer_leaves_after_the_frames_that_it_depends_on() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, two = await hub.worker(1), await hub.worker(2)
        for number in range(10):
            for link in hub.server.links:
                hub.server.tell(link, TOLD, b"%d" % number)
            hub.server.answer_when_written(hub.link(1), frame(ANSWER, number, b""), hub.server.links)
            hub.server.answer_when_written(hub.link(2), frame(ANSWER, 100 + number, b""), hub.server.links)
        await until(lambda: len(one.frames) == len(two.frames) == 21)
        assert [kind for kind, _, _ in one.frames] == [WELCOME] + 10 * [TOLD] + 10 * [ANSWER]
        hub.close(one, two)

    run(work)


async def fill(hub: Hub, number: int) -> None:
    """Send to a worker that does not read until its socket takes no more."""
    link = hub.link(number)
    while link.stream.sent == link.stream.queued:
        link.send(frame(TOLD, 0, bytes(1 << 20)))
        await asyncio.sleep(0)


def test_an_answer_waits_for_a_worker_that_does_not_read_and_for_no_other() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, two = await hub.worker(1), await hub.worker(2)
        loop.remove_reader(two.stream._socket)  # type: ignore[arg-type]
        await fill(hub, 2)
        hub.server.answer_when_written(hub.link(1), frame(ANSWER, 1, b"needs both"), hub.server.links)
        hub.server.answer_when_written(hub.link(1), frame(ANSWER, 2, b"needs one"), [hub.link(1)])
        await until(lambda: one.bodies(ANSWER))
        for _ in range(20):
            await asyncio.sleep(0)
        assert one.bodies(ANSWER) == [b"needs one"]
        loop.add_reader(two.stream._socket, two.stream._read)  # type: ignore[arg-type]
        await until(lambda: len(one.bodies(ANSWER)) == 2)
        hub.close(one, two)

    run(work)


def test_an_answer_does_not_wait_for_a_worker_without_a_heartbeat_or_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CHECK_SECONDS", 0.0)

    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, two = await hub.worker(1), await hub.worker(2)
        loop.remove_reader(two.stream._socket)  # type: ignore[arg-type]
        await fill(hub, 2)
        hub.server.answer_when_written(hub.link(1), frame(ANSWER, 1, b"first"), hub.server.links)
        await asyncio.sleep(0)
        hub.silent.add(2)
        await until(lambda: one.bodies(ANSWER))
        assert hub.lines == ["worker 2 hangs: publications are acknowledged that it has not read yet"]
        hub.silent.clear()
        hub.server.answer_when_written(hub.link(1), frame(ANSWER, 2, b"second"), hub.server.links)
        two.stream.close()
        await until(lambda: len(one.bodies(ANSWER)) == 2)
        hub.close(one)

    run(work)


def test_a_worker_that_is_too_far_behind_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "CHECK_SECONDS", 0.0)

    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        one, two = await hub.worker(1), await hub.worker(2)
        loop.remove_reader(two.stream._socket)  # type: ignore[arg-type]
        link = hub.link(2)
        hub.server.answer_when_written(hub.link(1), frame(ANSWER, 1, b""), hub.server.links)
        while not link.is_dropped:
            link.send(frame(TOLD, 0, bytes(1 << 20)))
            await asyncio.sleep(0)
        assert link.stream.queued - link.stream.sent <= (1 << 20) + 100
        for _ in range(100):
            link.send(bytes(MAX_BACKLOG_BYTES // 64))
        await until(lambda: one.bodies(ANSWER))
        assert link.stream.queued - link.stream.sent <= (1 << 20) + 100
        assert "too slow" in hub.lines[0]
        two.stream.send(frame(ASKED, 1, b"of the time before"))
        loop.add_reader(two.stream._socket, two.stream._read)  # type: ignore[arg-type]
        await until(lambda: two.bodies(RESYNC))
        assert two.frames[-1][0] == RESYNC
        two.stream.send(frame(HELLO, 0, Hello(protocol.VERSION, 2, 1, b"instance").body()))
        await until(lambda: len(two.bodies(WELCOME)) == 2)
        assert hub.events == [("begun", 1), ("begun", 2), ("begun", 2)]
        assert hub.asked == []
        two.stream.send(frame(ASKED, 2, b"of now"))
        await until(lambda: hub.asked)
        hub.close(one, two)

    run(work)


def test_the_link_of_a_predecessor_ends_when_its_successor_says_hello_though_another_process_holds_it() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        other = await hub.worker(2)
        former = await hub.worker(1)
        assert former.stream._socket is not None
        held = former.stream._socket.dup()  # by a process that an app of the worker has forked
        held.sendall(frame(ASKED, 7, b"the last words"))
        former.stream.close()
        successor = await hub.worker(1)
        assert hub.events == [("begun", 2), ("begun", 1), ("ended", 1), ("begun", 1)]
        assert [body for _, _, body in hub.asked] == [b"the last words"]
        assert [link.worker for link in hub.server.links] == [2, 1]
        assert hub.lines == []
        hub.server.tell(hub.link(1), TOLD, b"news")
        await until(lambda: successor.bodies(TOLD))
        held.close()
        hub.close(successor, other)

    run(work)


def test_workers_of_two_generations_have_a_link_each() -> None:
    async def work(loop: ShiftedLoop) -> None:
        hub = Hub(loop)
        old = await hub.worker(1)
        new = hub.attach()
        new.stream.send(frame(HELLO, 0, Hello(protocol.VERSION, 1, 2, b"another ").body()))
        await until(lambda: new.bodies(WELCOME))
        assert len(hub.server.links) == 2
        hub.close(old, new)

    run(work)
