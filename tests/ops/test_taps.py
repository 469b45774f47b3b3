"""ops/taps.py: what a tap shows of frames, its bounds, its ends, and taps at connections of other workers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from tests.support.colleagues import Team
from tests.support.fakes import Loop
from tests.support.metrics import FakeWire, connection
from wsdaemon.core.connection import Connection
from wsdaemon.core.registry import Connections
from wsdaemon.core.seen_frame import FrameWatcher, Inflated, SeenFrame
from wsdaemon.ops.taps import (
    ENDED,
    FULL,
    MAX_BYTES,
    MAX_FRAMES,
    MAX_TAPS,
    NO_CONNECTION,
    PAYLOAD_BYTES,
    UNASKED_SECONDS,
    WORKER_ENDED,
    OwnTaps,
    Taken,
    TapsOfAll,
    frame_record,
)

T = TypeVar("T")


class Watched:
    """Connections of one process, and their watchers."""

    def __init__(self, *ids: str) -> None:
        self.connections = Connections()
        self.watchers: dict[str, list[FrameWatcher]] = {id: [] for id in ids}
        for id in ids:
            self.connections.add(connection(FakeWire(), id, mount="/own" if id.startswith("own") else "/chat"))
        self.taps = OwnTaps(
            self.connections, self.watch, self.unwatch, kept_out=lambda one: one.handshake.mount == "/own", wall=lambda: 1000.0
        )  # fmt: skip

    def watch(self, one: Connection, watcher: FrameWatcher) -> bool:
        self.watchers[one.id].append(watcher)
        return one.is_open

    def unwatch(self, one: Connection, watcher: FrameWatcher) -> None:
        self.watchers[one.id].remove(watcher)

    def show(self, id: str, *frames: SeenFrame) -> None:
        for frame in frames:
            for watcher in self.watchers[id]:
                watcher.seen(True, frame)


def run(loop: Loop, make: Callable[[], Coroutine[Any, Any, T]], seconds: float = 0.0) -> T:
    task = loop.create_task(make())
    loop.settle()
    if seconds:
        loop.advance(seconds)
    return task.result()


@pytest.mark.parametrize(
    ("frame", "keep", "shown"),
    [
        (SeenFrame(1, 5, b""), 0, {"type": "text", "size": 5}),
        (SeenFrame(1, 5, b"he"), 0, {"type": "text", "size": 5}),
        (SeenFrame(8, 5, b"\x03\xe8"), 0, {"type": "close", "code": 1000}),
        (SeenFrame(8, 5, b"\x03\xe8bye"), 9, {"type": "close", "code": 1000, "payload": "bye"}),
        (SeenFrame(1, 5, b"hello"), 9, {"payload": "hello"}),
        (SeenFrame(1, 9, "grün".encode()[:3]), 3, {"payload": "gr", "cut": True}),
        (SeenFrame(2, 2, b"\x00\xff"), 9, {"payload": "AP8=", "encoding": "base64"}),
        (SeenFrame(1, 2, b"ab", True, False), 9, {"payload": "YWI=", "encoding": "base64", "compressed": True, "final": False}),
        (SeenFrame(1, 2, b"ab", True, inflated=Inflated(b"hello", False)), 9, {"payload": "hello", "compressed": True, "inflated": True}),
        (SeenFrame(1, 2, b"ab", True, inflated=Inflated(b"hello", False)), 2, {"payload": "he", "cut": True}),
        (SeenFrame(2, 2, b"ab", True, inflated=Inflated(b"he", True)), 2, {"payload": "aGU=", "encoding": "base64", "cut": True}),
        (SeenFrame(9, 1, b"\xff"), 9, {"payload": "/w==", "encoding": "base64"}),
        (SeenFrame(0, 0, b""), 9, {"type": "continuation", "payload": ""}),
    ],
)
def test_frames_are_shown_without_payloads_unless_they_are_wanted(frame: SeenFrame, keep: int, shown: dict[str, object]) -> None:
    record = frame_record(12.5, False, frame, keep)
    assert record.items() >= {"time": 12.5, "direction": "out", "opcode": frame.opcode, **shown}.items()
    assert ("payload" in record) == bool(keep)


def test_a_tap_gives_what_it_has_seen_once() -> None:
    with Loop() as loop:
        here = Watched("c-1")
        opened = run(loop, lambda: here.taps.open("c-1", "k", False))
        assert (opened.refused, opened.connection["id"]) == ("", "c-1")
        here.show("c-1", SeenFrame(1, 5, b""), SeenFrame(2, 6, b""))
        found = run(loop, lambda: here.taps.take(["k", "unknown"], []))
        assert found["unknown"] == Taken([], 0, ENDED)
        assert [(one["direction"], one["size"]) for one in found["k"].frames] == [("in", 5), ("in", 6)]
        assert run(loop, lambda: here.taps.take(["k"], [])) == {"k": Taken([], 0)}
        run(loop, lambda: here.taps.close(["k"]))
        assert (here.watchers["c-1"], len(here.taps), loop.timers) == ([], 0, 0)


@pytest.mark.parametrize(
    ("frame", "payload", "kept"), [(SeenFrame(1, 9, b""), False, MAX_FRAMES), (SeenFrame(2, 9000, bytes(9000)), True, None)]
)
def test_what_waits_has_a_bound_and_the_rest_is_counted(frame: SeenFrame, payload: bool, kept: int | None) -> None:
    with Loop() as loop:
        here = Watched("c-1")
        run(loop, lambda: here.taps.open("c-1", "k", payload))
        here.show("c-1", *[frame] * (MAX_FRAMES + 7))
        found = run(loop, lambda: here.taps.take(["k"], []))["k"]
        kept = kept or MAX_BYTES // PAYLOAD_BYTES
        assert (len(found.frames), found.dropped) == (kept, MAX_FRAMES + 7 - kept)
        here.show("c-1", frame)
        assert len(run(loop, lambda: here.taps.take(["k"], []))["k"].frames) == 1
        here.taps.close_all()


def test_a_tap_ends_with_its_connection_and_tells_it() -> None:
    with Loop() as loop:
        here = Watched("c-1")
        run(loop, lambda: here.taps.open("c-1", "k", False))
        here.show("c-1", SeenFrame(8, 2, b"\x03\xe8"))
        one = here.connections.get("c-1")
        assert one is not None
        one.close_code, one.close_reason = 1000, "bye"
        for watcher in list(here.watchers["c-1"]):
            watcher.over("lost")
        found = run(loop, lambda: here.taps.take(["k"], []))["k"]
        assert (len(found.frames), found.over) == (1, "the connection has ended: 1000 bye")
        assert run(loop, lambda: here.taps.take(["k"], [])) == {"k": Taken([], 0, ENDED)}
        assert (len(here.taps), loop.timers) == (0, 0)


def test_a_tap_that_is_not_asked_for_ends_by_itself() -> None:
    with Loop() as loop:
        here = Watched("c-1", "c-2")
        run(loop, lambda: here.taps.open("c-1", "asked", False))
        run(loop, lambda: here.taps.open("c-1", "held", False))
        run(loop, lambda: here.taps.open("c-2", "left", False))
        for _ in range(4):
            run(loop, lambda: here.taps.take(["asked"], ["held"]), UNASKED_SECONDS / 2)
        assert (len(here.watchers["c-1"]), len(here.watchers["c-2"])) == (2, 0)
        loop.advance(3 * UNASKED_SECONDS)
        assert (len(here.taps), loop.timers) == (0, 0)


def test_there_are_so_many_taps_and_none_at_connections_that_are_not_there() -> None:
    with Loop() as loop:
        here = Watched("c-1", "own-1")
        for number in range(MAX_TAPS):
            assert run(loop, lambda number=number: here.taps.open("c-1", str(number), False)).refused == ""  # type: ignore[misc]
        assert run(loop, lambda: here.taps.open("c-1", "more", False)).refused == FULL
        assert run(loop, lambda: here.taps.open("c-9", "k", False)).refused == NO_CONNECTION
        assert run(loop, lambda: here.taps.open("own-1", "k", False)).refused == NO_CONNECTION
        here.taps.close_all()


class Daemon:
    """Three workers, each with one connection."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.team = Team(loop, 3)
        self.watched = {number: Watched(f"w{number}-1") for number in self.team.workers}
        self.taps = {number: TapsOfAll(self.watched[number].taps, self.team.workers[number].all) for number in self.team.workers}

    def run(self, make: Callable[[], Coroutine[Any, Any, T]], seconds: float = 0.0) -> T:
        return run(self.loop, make, seconds)

    def end(self) -> None:
        for each in self.watched.values():
            each.taps.close_all()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_any_worker_taps_a_connection_of_any_worker(number: int) -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        taps = daemon.taps[number]
        opened = daemon.run(lambda: taps.open("w3-1", "k", False))
        assert (opened.refused, opened.connection["id"]) == ("", "w3-1")
        assert opened.connection.get("worker") == (None if number == 3 else 3)
        daemon.watched[3].show("w3-1", SeenFrame(1, 5, b""))
        found = daemon.run(lambda: taps.take(["k"], []))["k"]
        assert [one["size"] for one in found.frames] == [5]
        daemon.run(lambda: taps.take([], ["k"]))
        daemon.run(lambda: taps.close(["k"]))
        assert daemon.watched[3].watchers["w3-1"] == []
        daemon.run(lambda: taps.open("w3-1", "again", False))
        daemon.taps[3].close_all()
        assert daemon.watched[3].watchers["w3-1"] == []
        assert daemon.run(lambda: taps.open("w9-1", "k", False)).refused == NO_CONNECTION
        daemon.end()


def test_a_tap_ends_with_the_worker_and_waits_for_one_that_hangs() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        taps = daemon.taps[1]
        daemon.run(lambda: taps.open("w2-1", "two", False))
        daemon.run(lambda: taps.open("w3-1", "three", False))
        daemon.team.workers[2].holds = True
        assert list(daemon.run(lambda: taps.take(["two", "three"], []), 1.5)) == ["three"]
        daemon.team.workers[2].go_on()
        daemon.team.end(3)
        found = daemon.run(lambda: taps.take(["two", "three"], []))
        assert (found["two"].over, found["three"].over) == (None, WORKER_ENDED)
        assert daemon.run(lambda: taps.take(["three"], [])) == {"three": Taken([], 0, ENDED)}
        run(loop, lambda: daemon.watched[2].taps.close(["two"]))
        assert daemon.run(lambda: taps.take(["two"], []))["two"].over == ENDED
        daemon.end()


def test_a_tap_that_is_closed_while_the_workers_are_asked_costs_the_others_nothing() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        taps = daemon.taps[1]
        daemon.run(lambda: taps.open("w2-1", "two", False))
        daemon.run(lambda: taps.open("w3-1", "three", False))
        daemon.watched[3].show("w3-1", SeenFrame(1, 5, b""))
        daemon.team.workers[2].holds = True
        taking = loop.create_task(taps.take(["two", "three"], []))
        loop.settle()
        closing = loop.create_task(taps.close(["two"]))
        loop.settle()
        daemon.team.workers[2].go_on()
        loop.advance(1.5)
        assert closing.done()
        assert [one["size"] for one in taking.result()["three"].frames] == [5]
        daemon.end()


def test_a_supervisor_that_is_silent_costs_no_frame_of_an_own_connection() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        taps, own = daemon.taps[1], daemon.watched[1]
        daemon.run(lambda: taps.open("w1-1", "own", False))
        daemon.run(lambda: taps.open("w2-1", "two", False))
        own.show("w1-1", SeenFrame(1, 5, b""))
        own.watchers["w1-1"][0].over("the connection has ended")
        daemon.team.gathering.received = lambda worker, message, descriptors: True  # type: ignore[method-assign]
        found = daemon.run(lambda: taps.take(["own", "two"], []), 5.0)
        assert list(found) == ["own"]
        assert [one["size"] for one in found["own"].frames] == [5]
        assert found["own"].over == "the connection has ended"
        daemon.end()


def test_a_tap_that_has_ended_unasked_is_told_to_its_viewer() -> None:
    with Loop() as loop:
        daemon = Daemon(loop)
        taps = daemon.taps[1]
        daemon.run(lambda: taps.open("w1-1", "own", False))
        loop.advance(2 * UNASKED_SECONDS)
        assert daemon.run(lambda: taps.take(["own"], []))["own"].over == ENDED
