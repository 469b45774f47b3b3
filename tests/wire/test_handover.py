"""wire/handover.py: a connection leaves one process and goes on in another, and its client notices nothing."""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.deflate import sync_flushed
from tests.support.fakes import App, AppSession, Frame, binary, close, frame, request, text
from tests.support.handover import Talker, Worker, move, run, turns
from tests.support.inside import descriptors
from wsdaemon.apps.echo import EchoApp
from wsdaemon.core.connection import Connection, writer_of
from wsdaemon.core.contract import MAX_STATE_BYTES
from wsdaemon.core.handshake import Handshake
from wsdaemon.settings.slow_client import SlowClient
from wsdaemon.wire.deflate.negotiation import DeflateOptions
from wsdaemon.wire.handed import decode
from wsdaemon.wire.handover import BACKLOG, BUSY, CLOSING, FAILED, KEPT, MAX_UNSENT_BYTES, MIDST, OTHER_APP, TLS, Parting, stay, wait
from wsdaemon.wire.resumption import CannotResume, check


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_echo_goes_on(uv: bool) -> None:
    async def story() -> None:
        talker, old, new = Talker(), Worker(EchoApp()), Worker(EchoApp())
        await old.open(talker.far.dup())
        talker.far.close()
        talker.send(text("before"))
        assert await talker.hear(1) == [Frame(1, b"before")]
        parting = old.part()
        assert isinstance(parting, Parting)
        talker.send(text("meanwhile"))
        await asyncio.sleep(0.01)
        assert talker.frames() == [Frame(1, b"before")]
        await new.take(parting)
        talker.send(text("after"))
        assert [each.payload for each in await talker.hear(3)] == [b"before", b"meanwhile", b"after"]
        assert (old.count.now, new.count.now) == (0, 1)
        assert old.watcher.closed_ones == []
        assert new.wire.connection.id == "test-1"
        assert new.wire.counts()[:4] == (3, 3, len(text("before") + text("meanwhile") + text("after")), 6 + 2 + 9 + 2 + 5 + 2)
        assert not talker.closed
        talker.send(close(1000))
        await turns(lambda: new.watcher.closed_ones)
        assert new.wire.connection.close_code == 1000
        assert old.watcher.closed_ones == []
        talker.close()

    run(story(), uv)


@pytest.mark.parametrize("reader", ["c", "python", "off"])
@settings(max_examples=40)
@given(data=st.data())
def test_a_hand_over_at_every_cut_of_a_stream_loses_and_doubles_nothing(reader: str, data: st.DataObject) -> None:
    """Frames of all kinds, cut anywhere: in a header, in a payload, between fragments. Each piece goes to the next of two processes."""
    pieces = [
        text("one"), frame(9, b"ping"), binary(bytes(300)), frame(1, b"frag", fin=False), frame(0, "mentiert: grün".encode()),
        text("x" * 70_000), frame(2, b"a", fin=False), frame(9, b"between"), frame(0, b"b", fin=False), frame(0, b"c"), text("last"),
    ]  # fmt: skip
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), min_size=1, max_size=4)))
    told = [Frame(1, b"one"), Frame(10, b"ping"), Frame(2, bytes(300)), Frame(1, "fragmentiert: grün".encode()), Frame(1, b"x" * 70_000)]
    told += [Frame(10, b"between"), Frame(2, b"abc"), Frame(1, b"last")]

    async def story() -> None:
        talker = Talker()
        workers = [Worker(EchoApp(), reader), Worker(EchoApp(), reader)]
        await workers[0].open(talker.far.dup())
        talker.far.close()
        here, there = workers
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            talker.send(stream[start:end])
            await turns(lambda: here.wire.counts().bytes_in == end)  # noqa: B023 - called before the next turn of the loop
            if end < len(stream):
                parting = here.part()
                if parting == MIDST:  # in the middle of a fragment: it waits for the rest
                    talker.send(stream[end:])
                    break
                assert isinstance(parting, Parting), parting
                await there.take(parting)
                here, there = there, here
        assert await talker.hear(len(told)) == told
        assert not talker.closed
        talker.close()
        await turns(lambda: workers[0].watcher.closed_ones or workers[1].watcher.closed_ones)

    run(story())


def test_compression_goes_on_with_the_clients_window() -> None:
    """The client's messages refer to those before the hand-over; ours do not have to refer to anything."""
    messages = [f"the same words again and again, number {number}".encode() * 9 for number in range(6)]
    payloads = sync_flushed(*messages)

    async def story() -> None:
        talker = Talker()
        options: dict[str, Any] = {"deflate": DeflateOptions(window_bits=15, threshold=0)}
        workers = [Worker(EchoApp(), **options), Worker(EchoApp(), **options)]
        await workers[0].open(talker.far.dup(), request(sec_websocket_extensions="permessage-deflate; client_max_window_bits"))
        talker.far.close()
        decoder = zlib.decompressobj(-15)
        for number, payload in enumerate(payloads):
            talker.send(frame(1, payload, rsv=4))
            answer = (await talker.hear(number + 1))[number]
            assert decoder.decompress(answer.payload + b"\0\0\xff\xff") == messages[number]
            await move(workers[number % 2], workers[(number + 1) % 2])
        talker.close()
        await turns(lambda: workers[0].watcher.closed_ones)

    run(story())


class Counter(App):
    """An app of a user's: each answer is the number of the message. It counts on in the other process."""

    def open(self, connection: Connection, handshake: Handshake) -> CountingSession:
        return self._session(connection, 0)

    def resume(self, connection: Connection, handshake: Handshake, state: bytes) -> CountingSession:
        assert handshake.headers["x-name"] == "ada"
        return self._session(connection, int(state))

    def _session(self, connection: Connection, count: int) -> CountingSession:
        self.connections.append(connection)
        return CountingSession(self, connection, count)


class CountingSession(AppSession):
    def __init__(self, app: App, connection: Connection, count: int) -> None:
        super().__init__(app, connection)
        self._count = count
        self.answer: Any = None

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        self._count += 1
        self._connection.send(f"{self._count}: {message!r}")
        return super().received(message)

    def hand_over(self) -> bytes | None:
        if self.answer is not None:
            if isinstance(self.answer, Exception):
                raise self.answer
            return None if self.answer == "keep" else self.answer
        self._connection.send("goodbye")
        return str(self._count).encode()


async def opened(app: Any, **options: Any) -> tuple[Talker, Worker, Worker]:
    talker, old, new = Talker(), Worker(app, **options), Worker(type(app)(), **options)
    await old.open(talker.far.dup(), request(x_name="ada"))
    talker.far.close()
    talker.read()
    return talker, old, new


def test_an_app_of_the_users_goes_on_and_its_last_words_keep_their_order() -> None:
    async def story() -> None:
        talker, old, new = await opened(Counter())
        talker.send(text("a") + text("b"))
        await talker.hear(2)
        parting = old.part()
        assert isinstance(parting, Parting)
        assert decode(parting.content).unsent == b"\x81\x07goodbye"
        talker.send(text("c"))
        await new.take(parting)
        told = [each.payload for each in await talker.hear(4)]
        assert told == [b"1: 'a'", b"2: 'b'", b"goodbye", b"3: 'c'"]
        assert new.wire.counts().messages_out == 4
        assert new.wire.counts().bytes_out == sum(2 + len(each) for each in told)
        assert old.app.ends == []
        with pytest.raises(Exception, match="connection closed"):
            old.app.connection.send("late")
        talker.send(close(1000))
        await turns(lambda: new.app.ends)
        assert (old.app.ends, new.app.ends) == ([], [(1000, "")])
        talker.close()

    run(story())


def test_a_connection_that_nobody_takes_comes_back() -> None:
    async def story() -> None:
        talker, old, _ = await opened(Counter())
        await move(old, old)
        talker.send(text("a"))
        assert [each.payload for each in await talker.hear(2)] == [b"goodbye", b"1: 'a'"]
        assert old.count.now == 1
        talker.close()
        await turns(lambda: old.app.ends)

    run(story())


@pytest.mark.parametrize(
    ("answer", "obstacle"),
    [("keep", KEPT), (RuntimeError("mine"), FAILED), (bytes(MAX_STATE_BYTES + 1), FAILED), ("text", FAILED)],
    ids=["kept", "raised", "too long", "no bytes"],
)  # fmt: skip
def test_an_app_that_does_not_answer_with_its_state(answer: Any, obstacle: object) -> None:
    async def story() -> None:
        talker, old, _ = await opened(Counter())
        old.wire.session.answer = answer
        assert old.part() == obstacle
        if obstacle == KEPT:
            talker.send(text("a"))
            assert (await talker.hear(1))[0].payload == b"1: 'a'"
            talker.close()
        else:
            assert [(each.opcode, each.code) for each in await talker.hear(1)] == [(8, 1011)]
            assert [doing for doing, _ in old.watcher.failures] == ["handing over"]
            talker.send(close(1011))
        await turns(lambda: old.app.ends)
        talker.close()

    run(story())


def test_what_cannot_go() -> None:
    async def story() -> None:
        talker, old, new = await opened(Counter())
        wire = old.wire
        descriptor, wire.writer.descriptor = wire.writer.descriptor, -1
        assert old.part() == TLS
        wire.writer.descriptor = descriptor
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        old.app._received = lambda connection, message: answer
        talker.send(text("a"))
        await turns(lambda: wire.reader.waiting)
        assert old.part() == BUSY
        answer.set_result(None)
        old.app._received = None
        await turns(lambda: wire.reader.waiting is None)
        talker.send(frame(2, b"ab", fin=False) + frame(0, b"cd")[:-1])
        await turns(lambda: wire.reader.fallback is not None)
        assert old.part() == MIDST
        talker.send(frame(0, b"cd")[-1:])
        await turns(lambda: wire.reader.fallback is None)
        parting = old.part()
        assert isinstance(parting, Parting)
        other = Worker(App())
        with pytest.raises(CannotResume, match="app"):
            check(other.wires, decode(parting.content))
        await new.take(parting)
        new.app.connection.close(4000)
        assert new.part() == CLOSING
        talker.send(close(4000))
        await turns(lambda: new.app.ends)
        talker.close()

    run(story())

    async def other() -> None:
        talker, old = Talker(), Worker(App())
        await old.open(talker.far.dup())
        talker.far.close()
        assert old.part() == OTHER_APP
        talker.close()
        await turns(lambda: old.app.ends)

    run(other())


def test_a_backlog_has_to_empty_first() -> None:
    async def story() -> None:
        talker, old, new = await opened(Counter(), send_backlog=64 * 1024 * 1024)
        message = os.urandom(4 * 1024 * 1024)
        old.app.connection.send(message)
        await turns(lambda: old.wire.writer.queued)
        assert old.part() == BACKLOG
        await turns(lambda: len(talker.read()) > len(message))
        await move(old, new)
        assert [each.payload for each in await talker.hear(2)] == [message, b"goodbye"]
        talker.close()
        await turns(lambda: new.app.ends)

    run(story())


def test_an_app_that_says_too_much_and_cannot_resume_closes_with_1011() -> None:
    async def story() -> None:
        talker, old, _ = await opened(Counter(), send_backlog=4 * 1024 * 1024)
        session, connection = old.wire.session, old.app.connections[0]

        def hand_over() -> bytes:
            connection.send(bytes(MAX_UNSENT_BYTES + 1))
            return b"no number"

        session.hand_over = hand_over
        before = descriptors()
        assert old.part() == FAILED
        assert descriptors() == before
        assert [doing for doing, _ in old.watcher.failures] == ["resuming"]
        await turns(lambda: len(talker.read()) > MAX_UNSENT_BYTES + 11)
        assert [(each.opcode, each.code) for each in (await talker.hear(2))[1:]] == [(8, 1011)]
        talker.send(close(1011))
        await turns(lambda: old.app.ends)
        talker.close()

    run(story())


def test_a_ping_under_way_is_answered_in_the_other_process_and_a_missing_answer_ends_the_connection_there() -> None:
    async def story() -> None:
        talker, old, new = await opened(EchoApp(), ping_interval=0.1, ping_timeout=60)
        impatient = Worker(EchoApp(), ping_interval=0.1, ping_timeout=0.2)
        assert (await talker.hear(1))[0].opcode == 9
        await move(old, new)
        assert new.wire.deadlines.pinged == 1
        talker.send(frame(10, b"ping"))
        await turns(lambda: new.wire.deadlines.pinged == 2)
        new.wire.deadlines.ping_at = 0.0
        new.wire.deadlines.due()
        new.wire.deadlines.ping_at = 0.0
        new.wire.deadlines.due()
        assert [each.opcode for each in await talker.hear(2)] == [9, 9]
        await move(new, impatient)
        assert impatient.wire.deadlines.pinged == 1
        await turns(lambda: impatient.watcher.closed_ones)
        assert new.watcher.closed_ones == []
        assert impatient.wire.connection.close_code == 1006
        talker.close()

    run(story())


def test_debts_of_a_rate_go_along() -> None:
    """The client owes: in the other process it is still read no further, and what it sent is not lost."""

    async def story() -> None:
        talker, old, new = await opened(EchoApp(), messages_per_second=0.1)
        talker.send(b"".join(text(str(number)) for number in range(20)))
        await turns(lambda: old.wire.reader.waiting is not None)
        parting = old.part()
        assert isinstance(parting, Parting)
        handed = decode(parting.content)
        assert handed.tokens is not None
        assert handed.tokens.messages < -10
        await new.take(parting)
        assert new.wire.reader.waiting is not None
        assert new.wire.reader.meter.tokens(asyncio.get_running_loop().time()).messages < -10
        talker.send(text("later"))
        await asyncio.sleep(0.05)
        assert new.wire.counts().messages_in == 20
        generous = Worker(EchoApp())
        await move(new, generous)
        assert [each.payload for each in await talker.hear(21)] == [*[str(number).encode() for number in range(20)], b"later"]
        talker.close()
        await turns(lambda: generous.watcher.closed_ones)

    run(story())


class Settling(Counter):
    """An app whose sessions end work of their own first, and that need a moment to go on."""

    def _session(self, connection: Connection, count: int) -> SettlingCounter:
        self.connections.append(connection)
        self.session = SettlingCounter(self, connection, count)
        return self.session


class SettlingCounter(CountingSession):
    def __init__(self, app: App, connection: Connection, count: int) -> None:
        super().__init__(app, connection, count)
        self.settled = False
        self.goes_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def is_settled(self) -> bool:
        return self.settled

    def resumed(self) -> asyncio.Future[None]:
        return self.goes_on


def test_while_a_session_ends_its_work_its_client_is_not_read() -> None:
    async def story() -> None:
        talker, old, new = await opened(Settling())
        for round in (1, 2):
            found = old.part()
            assert found is BUSY
            wait(old.wire, found)
            talker.send(text(f"waits {round}"))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(talker.frames()) == round - 1
            if round == 1:
                stay(old.wire)
                await talker.hear(1)
        old.app.session.settled = True
        parting = old.part()
        assert isinstance(parting, Parting)
        taking = asyncio.create_task(new.take(parting))
        await turns(lambda: hasattr(new.app, "session"))
        new.app.session.goes_on.set_result(None)
        await taking
        assert [each.payload for each in await talker.hear(3)] == [b"1: 'waits 1'", b"goodbye", b"2: 'waits 2'"]
        talker.close()

    run(story())


def test_a_session_that_says_too_much_goes_on_here_in_its_own_time() -> None:
    async def story() -> None:
        talker, old, _ = await opened(Settling())
        session = old.app.session
        session.settled = True

        def hand_over() -> bytes:
            session._connection.send("x" * (MAX_UNSENT_BYTES + 1))
            return b"7"

        session.hand_over = hand_over
        assert old.part() is BACKLOG
        assert old.app.session is not session
        talker.send(text("a"))
        await turns(lambda: len(talker.read()) > MAX_UNSENT_BYTES)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(talker.frames()) == 1, "the client is not read yet"
        old.app.session.goes_on.set_result(None)
        assert (await talker.hear(2))[1].payload == b"8: 'a'"
        talker.close()

    run(story())


class Numbers(App):
    """Sends numbered messages of 64 KiB, each under one of two keys, and says in its state which is the next."""

    def open(self, connection: Connection, handshake: Handshake) -> NumbersSession:
        return self.resume(connection, handshake, b"0")

    def resume(self, connection: Connection, handshake: Handshake, state: bytes) -> NumbersSession:
        self.connections.append(connection)
        return NumbersSession(self, connection, int(state))


class NumbersSession(AppSession):
    def __init__(self, app: App, connection: Connection, count: int) -> None:
        super().__init__(app, connection)
        self.count = count

    def send(self, connection: Connection) -> None:
        writer = writer_of(connection)
        writer.send_prepared(writer.prepare(b"%d " % self.count + bytes(65536), False, self.count % 2))
        self.count += 1

    def hand_over(self) -> bytes:
        return b"%d" % self.count


@pytest.mark.parametrize("slow", [SlowClient.WAIT, SlowClient.LATEST])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_slow_client_goes_along_after_all_that_waits_for_it(slow: SlowClient, compressed: bool) -> None:
    """Messages are sent before, while the connection cannot go, and after; with `latest` older ones of the same key may be missing."""

    async def story() -> None:
        options: dict[str, Any] = {"slow_client": slow, "send_backlog": 16 * 1024 * 1024, "ping_interval": 0.0}
        if compressed:
            options["deflate"] = DeflateOptions(threshold=0, level=0)
        talker = Talker()
        old, new = (Worker(Numbers(), **options) for _ in range(2))
        extension = {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"} if compressed else {}
        await old.open(talker.far.dup(), request(**extension))
        talker.far.close()
        session = old.wire.session
        while not old.wire.writer.queued or session.count % 40:
            session.send(old.app.connection)
        assert (old.wire.writer.shelf is not None) == (slow is SlowClient.LATEST)
        assert old.part() == BACKLOG
        tries = 0
        while not isinstance(parting := old.part(), Parting):
            assert parting == BACKLOG
            tries += 1
            if tries <= 5:
                session.send(old.app.connection)
            talker.read_slowly()
            await asyncio.sleep(0)
        newest = session.count - 1
        talker.read()
        await new.take(parting)
        for _ in range(3):
            new.wire.session.send(new.app.connection)
        last = b"%d " % (newest + 3)
        await turns(lambda: last in talker.read()[-65600:])
        payloads = [each.payload for each in talker.frames()]
        if compressed:
            payloads = [zlib.decompressobj(-15).decompress(payload) for payload in payloads]
        assert {len(payload.partition(b" ")[2]) for payload in payloads} == {65536}
        seen = [int(payload.partition(b" ")[0]) for payload in payloads]
        if slow is SlowClient.WAIT:
            assert seen == list(range(newest + 4))
        else:
            assert seen == sorted(set(seen)) and seen[-5:] == list(range(newest - 1, newest + 4)) and len(seen) < newest
        assert tries > 1
        assert (old.count.now, new.count.now) == (0, 1)
        talker.close()
        await turns(lambda: new.app.ends)
        assert old.app.ends == []

    run(story())
