"""wire/handover.py: a connection leaves one process and goes on in another, and its client notices nothing."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fakes import Frame, binary, close, frame, text
from tests.support.handover import Talker, Worker, run, turns
from wsdaemon.apps.echo import EchoApp
from wsdaemon.wire.handover import MIDST, Parting


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
        for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(stream)], strict=True)):
            here = workers[number % 2]
            talker.send(stream[start:end])
            await turns(lambda: here.wire.counts().bytes_in == end)  # noqa: B023
            if end < len(stream):
                parting = here.part()
                if parting == MIDST:  # in the middle of a fragment: it waits for the rest
                    talker.send(stream[end:])
                    break
                assert isinstance(parting, Parting), parting
                await workers[(number + 1) % 2].take(parting)
        assert await talker.hear(len(told)) == told
        assert not talker.closed
        talker.close()
        await turns(lambda: workers[0].watcher.closed_ones or workers[1].watcher.closed_ones)

    run(story())
