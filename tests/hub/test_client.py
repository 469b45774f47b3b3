"""A worker's side of the link: hello, questions, and what happens when the hub is lost, replaced, or too slow."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.support.inside import until
from tests.support.links import End, ShiftedLoop, run
from wsdaemon.hub import client as client_module
from wsdaemon.hub import protocol
from wsdaemon.hub.client import HubAway, HubClient, HubRefused
from wsdaemon.hub.protocol import ANSWER, HELLO, REFUSAL, RESYNC, UNWELCOME, WELCOME, RefusedQuestion, frame

ASKED, TOLD = 70, 71


class Told:
    """A client and the events that it told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.events: list[object] = []
        self.lines: list[str] = []
        self.client = HubClient(2, 5, loop, self.lines.append)
        self.client.lost.append(lambda reason: self.events.append("lost"))
        self.client.returned.append(lambda same: self.events.append(("returned", same)))


def hub_end(client: HubClient, loop: asyncio.AbstractEventLoop) -> End:
    ours, theirs = socket.socketpair()
    client.attach(ours)
    return End(theirs, loop)


async def greet(end: End, client: HubClient, instance: bytes = b"hub-one-") -> None:
    hellos = len(end.bodies(HELLO))
    await until(lambda: len(end.bodies(HELLO)) >= max(1, hellos))
    end.stream.send(frame(WELCOME, 0, protocol.welcome(instance)))
    await until(lambda: client.is_there)


def test_the_client_says_hello_and_is_there_when_it_is_welcome() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        end = hub_end(told.client, loop)
        assert not told.client.tell(TOLD)
        await greet(end, told.client)
        hello = protocol.read_hello(end.bodies(HELLO)[0])
        assert (hello.version, hello.worker, hello.generation) == (protocol.VERSION, 2, 5)
        assert told.events == [("returned", False)]
        assert told.client.tell(TOLD, b"body")
        await until(lambda: end.bodies(TOLD))
        assert end.bodies(TOLD) == [b"body"]
        told.client.close()
        end.stream.close()

    run(work)


def test_questions_have_their_own_answers() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        asked = [told.client.ask(ASKED, b"%d" % number, bytes.decode) for number in range(3)]
        await until(lambda: len(end.bodies(ASKED)) == 3)
        requests = [(request, body) for kind, request, body in end.frames if kind == ASKED]
        asked[2].cancel()
        for request, body in reversed(requests):
            if body == b"1":
                end.stream.send(frame(REFUSAL, request, RefusedQuestion("no", "not one", b"{}").body()))
            else:
                end.stream.send(frame(ANSWER, request, b"answer " + body))
        assert await asked[0] == "answer 0"
        with pytest.raises(HubRefused, match="not one") as refused:
            await asked[1]
        assert (refused.value.code, refused.value.details) == ("no", b"{}")
        told.client.close()
        end.stream.close()

    run(work)


def test_frames_of_the_hub_reach_their_handlers() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        bodies: list[bytes] = []
        told.client.handle(TOLD, bodies.append)
        end = hub_end(told.client, loop)
        end.stream.send(frame(TOLD, 0, b"before the welcome, so of another life"))
        await greet(end, told.client)
        end.stream.send(frame(TOLD, 0, b"1"))
        end.stream.send(frame(TOLD, 0, b"2"))
        await until(lambda: len(bodies) == 2)
        assert bodies == [b"1", b"2"]
        told.client.close()
        end.stream.close()

    run(work)


def test_when_the_hub_ends_questions_fail_and_a_new_hub_is_another() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        question = told.client.ask(ASKED, b"", bytes)
        end.stream.close()
        with pytest.raises(HubAway):
            await question
        assert told.events == [("returned", False), "lost"]
        with pytest.raises(HubAway):
            await told.client.ask(ASKED, b"", bytes)
        for instance, same in ((b"hub-two-", False), (b"hub-two-", True)):
            end = hub_end(told.client, loop)
            await greet(end, told.client, instance)
            assert told.events[-1] == ("returned", same)
        lines = list(told.lines)
        told.client.close()
        assert told.events[-1] == "lost"
        assert told.lines == lines
        end.stream.close()

    run(work)


def test_a_resync_begins_the_link_anew() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        bodies: list[bytes] = []
        told.client.handle(TOLD, bodies.append)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        question = told.client.ask(ASKED, b"", bytes)
        end.stream.send(frame(RESYNC, 0, b""))
        end.stream.send(frame(TOLD, 0, b"of the time before"))
        await until(lambda: len(end.bodies(HELLO)) == 2)
        with pytest.raises(HubAway):
            await question
        end.stream.send(frame(WELCOME, 0, protocol.welcome(b"hub-one-")))
        await until(lambda: told.client.is_there)
        assert told.events == [("returned", False), "lost", ("returned", True)]
        assert bodies == []
        first, second = map(protocol.read_hello, end.bodies(HELLO))
        assert first == second
        told.client.close()
        end.stream.close()

    run(work)


def test_a_hub_that_does_not_read_is_lost_and_greeted_again_when_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CHECK_SECONDS", 0.0)

    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        ours, theirs = socket.socketpair()
        told.client.attach(ours)
        theirs.send(frame(WELCOME, 0, protocol.welcome(b"hub-one-")))
        await until(lambda: told.client.is_there)
        while told.client.is_there:
            told.client.tell(TOLD, bytes(1 << 20))
            await asyncio.sleep(0)
        assert told.events == [("returned", False), "lost"]
        assert "too slow" in told.lines[-1]
        end = End(theirs, loop)
        await until(lambda: len(end.bodies(HELLO)) == 2)
        assert end.frames[-1][0] == HELLO
        told.client.close()
        end.stream.close()

    run(work)


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_QUESTIONS", 3)

    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        asked = [told.client.ask(ASKED, b"", bytes) for _ in range(3)]
        with pytest.raises(HubAway, match="3 questions"):
            await told.client.ask(ASKED, b"", bytes)
        told.client.close()
        for question in asked:
            with pytest.raises(HubAway):
                await question
        end.stream.close()

    run(work)


def test_an_error_can_be_made_into_another() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)

        def translated(error: HubAway | HubRefused) -> Exception:
            return LookupError(type(error).__name__)

        with pytest.raises(LookupError, match="HubAway"):
            await told.client.ask(ASKED, b"", bytes, translated)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        refused, lost = (told.client.ask(ASKED, b"", bytes, translated) for _ in range(2))
        await until(lambda: end.bodies(ASKED))
        end.stream.send(frame(REFUSAL, end.frames[-1][1] - 1, RefusedQuestion("no", "no").body()))
        with pytest.raises(LookupError, match="HubRefused"):
            await refused
        told.client.close()
        with pytest.raises(LookupError, match="HubAway"):
            await lost
        end.stream.close()

    run(work)


def test_another_version_of_the_protocol_is_reported() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        end = hub_end(told.client, loop)
        end.stream.send(frame(UNWELCOME, 0, b"\x09\x00"))
        await until(lambda: told.lines)
        assert "version 9" in told.lines[0]
        assert not told.client.is_there
        told.client.close()
        end.stream.close()

    run(work)


def test_a_worker_that_cannot_handle_a_frame_is_broken_at_once() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        broken: list[str] = []
        told.client.broken.append(broken.append)
        told.client.handle(TOLD, lambda body: 1 // 0)  # type: ignore[arg-type]
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        end.stream.send(frame(TOLD, 0, b""))
        await until(lambda: broken)
        assert "ZeroDivisionError" in broken[0]
        assert told.events[-1] == "lost"
        told.client.close()
        end.stream.close()

    run(work)


def test_a_worker_is_broken_if_no_other_hub_comes() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        broken: list[str] = []
        told.client.broken.append(broken.append)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        end.stream.close()
        await until(lambda: not told.client.is_there)
        end = hub_end(told.client, loop)
        loop.shift += client_module.LINK_SECONDS + 1
        await greet(end, told.client, b"hub-two-")
        assert broken == [], "a new hub came in time"
        end.stream.close()
        await until(lambda: not told.client.is_there)
        assert broken == []
        loop.shift += client_module.LINK_SECONDS + 1
        await until(lambda: broken)
        assert len(broken) == 1

    run(work)


def test_a_client_that_is_closed_is_not_broken() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        broken: list[str] = []
        told.client.broken.append(broken.append)
        end = hub_end(told.client, loop)
        await greet(end, told.client)
        end.stream.close()
        await until(lambda: not told.client.is_there)
        told.client.close()
        loop.shift += client_module.LINK_SECONDS + 1
        for _ in range(10):
            await asyncio.sleep(0)
        assert broken == []

    run(work)


def test_the_frames_of_the_former_hub_are_handled_before_a_new_one_is_greeted() -> None:
    async def work(loop: ShiftedLoop) -> None:
        told = Told(loop)
        bodies: list[bytes] = []
        told.client.handle(TOLD, bodies.append)
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        told.client.attach(ours)
        theirs.send(frame(WELCOME, 0, protocol.welcome(b"hub-one-")))
        await until(lambda: told.client.is_there)
        sent = [b"%03d" % number * 1000 for number in range(66)]  # 198 kB: several reads
        for body in sent:
            theirs.sendall(frame(TOLD, 0, body))
        theirs.close()
        end = hub_end(told.client, loop)
        assert bodies == sent
        await greet(end, told.client, b"hub-two-")
        assert told.events == [("returned", False), "lost", ("returned", False)]
        told.client.close()
        end.stream.close()

    run(work)
