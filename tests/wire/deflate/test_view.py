"""wire/deflate/view.py: compressed frames are inflated for watchers, within bounds, and never shown wrongly."""

from __future__ import annotations

import pytest

from tests.support.deflate import final, sync_flushed
from wsdaemon.core.seen_frame import Inflated, SeenFrame
from wsdaemon.wire.deflate.view import MAX_FRAME_BYTES, MAX_INFLATED_BYTES, InflatedView

MESSAGES = [b"hello, hello, hello!", b"hello, hello, world!", b"", b"world, hello!"]


class View:
    """A view whose connection knows `known` between two messages."""

    def __init__(self, known: bytes | None = None, takeover: bool = True, bits: int = 15) -> None:
        self.asked = 0
        self.known = known
        self.view = InflatedView(bits, takeover, self._recover)

    def _recover(self) -> bytes | None:
        self.asked += 1
        return self.known

    def read(self, *payloads: bytes, between: bool = True, keep: int = 4096) -> list[Inflated | None]:
        """Whole messages of one read."""
        self.view.begin(between)
        frames = [(SeenFrame(1, len(payload), b"", True), payload[:MAX_FRAME_BYTES]) for payload in payloads]
        return [self.view.inflated(frame, payload, keep) for frame, payload in frames]


def test_messages_that_share_a_window_are_inflated() -> None:
    view = View(b"")
    assert view.read(*sync_flushed(*MESSAGES)) == [Inflated(message, False) for message in MESSAGES]
    assert view.asked == 1


def test_no_message_is_inflated_without_the_window_and_later_ones_are_again() -> None:
    view, payloads = View(None), sync_flushed(*MESSAGES)
    assert view.read(*payloads[:1]) == [None]
    view.known = MESSAGES[0]
    assert view.read(payloads[1], between=False) == [None]
    view.known = b"".join(MESSAGES[:2])
    assert view.read(*payloads[2:]) == [Inflated(message, False) for message in MESSAGES[2:]]


def test_a_reference_to_unknown_bytes_is_not_inflated() -> None:
    view, payloads = View(b""), sync_flushed(*MESSAGES)
    assert view.read(payloads[1]) == [None]
    assert view.view.window is None


def test_messages_without_a_common_window_need_none() -> None:
    view = View(None, takeover=False)
    once = [sync_flushed(message)[0] for message in MESSAGES]
    assert view.read(b"\xff\xff", *once) == [None, *[Inflated(message, False) for message in MESSAGES]]
    assert view.asked == 0


def test_a_message_in_several_frames_is_inflated_frame_by_frame() -> None:
    view, (payload, after) = View(b""), sync_flushed(b"one " * 100, b"one " * 99)
    pieces = [payload[:3], payload[3:6], payload[6:]]
    made = b""
    for number, piece in enumerate(pieces):
        view.view.begin(True)
        found = view.view.inflated(SeenFrame(0 if number else 1, len(piece), b"", True, number == 2), piece, 4096)
        assert found is not None and not found.cut
        made += found.beginning
    assert made == b"one " * 100
    assert view.read(after) == [Inflated(b"one " * 99, False)]
    assert view.asked == 1


def test_the_rest_of_a_message_whose_beginning_was_not_seen_is_not_inflated() -> None:
    view, [payload] = View(b""), sync_flushed(b"one " * 100)
    view.view.begin(True)
    assert view.view.inflated(SeenFrame(0, len(payload), b"", True), payload, 4096) is None


def test_a_long_payload_is_inflated_at_its_beginning_alone() -> None:
    message = bytes(range(256)) * 2000
    [payload] = sync_flushed(message, level=0)
    view = View(b"")
    assert view.read(payload, keep=10) == [Inflated(message[:10], True)]
    assert view.view.window is None


def test_a_read_is_inflated_up_to_a_bound() -> None:
    message = bytes(MAX_INFLATED_BYTES // 2)
    view, payloads = View(b""), sync_flushed(*[message] * 5)
    assert view.read(*payloads, keep=1) == [Inflated(b"\0", True), Inflated(b"\0", True), Inflated(b"\0", True), None, None]
    assert view.view.window is None
    view.known = message
    assert view.read(*payloads[:2], keep=1) == [Inflated(b"\0", True)] * 2
    assert view.view.window == message[-32768:]


def test_broken_messages_count_in_the_bound_with_all_that_may_have_come_out_of_them() -> None:
    view, [message] = View(takeover=False), sync_flushed(bytes(1000))
    [bomb] = sync_flushed(bytes(MAX_INFLATED_BYTES - 2000))
    broken = bomb + b"\x00\x00\xff\xff" + b"\xff\xff"  # after the end of its last block, what is none
    assert view.read(message, broken, message, message, keep=1000) == [Inflated(bytes(1000), False), None, *[Inflated(b"\0", True)] * 2]
    assert view.read(message, keep=1000) == [Inflated(bytes(1000), False)]


def test_a_message_that_ends_its_stream_shows_its_beginning() -> None:
    view = View(b"")
    assert view.read(final(b"hello"), *sync_flushed(b"next")) == [Inflated(b"hello", True), None]


@pytest.mark.parametrize("bits", [9, 15])
def test_the_window_is_as_long_as_was_agreed(bits: int) -> None:
    view = View(b"", bits=bits)
    messages = [bytes([number % 256]) * 3000 for number in range(30)]
    view.read(*sync_flushed(*messages, bits=bits))
    assert view.view.window == b"".join(messages)[-(1 << bits) :]
