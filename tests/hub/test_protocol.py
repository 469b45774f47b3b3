"""The formats of the link between hub and workers."""

from __future__ import annotations

import pytest

from tests.support.links import read_frames
from wsdaemon.hub import protocol
from wsdaemon.hub.protocol import Hello, Malformed, RefusedQuestion


def test_a_frame_has_its_length_kind_and_request_in_front() -> None:
    assert protocol.frame(5, 0x01020304, b"abc") == bytes([3, 0, 0, 0, 5, 4, 3, 2, 1]) + b"abc"
    assert read_frames(protocol.frame(1, 2, b"x") + protocol.frame(3, 0, b"")) == [(1, 2, b"x"), (3, 0, b"")]


def test_hello_comes_back_as_it_was_written() -> None:
    hello = Hello(protocol.VERSION, 3, 70_000, b"12345678")
    assert protocol.read_hello(hello.body()) == hello


def test_of_another_version_only_the_version_is_read() -> None:
    assert protocol.read_hello(b"\x09\x00whatever comes then") == Hello(9, 0, 0, b"")
    assert protocol.read_unwelcome(protocol.unwelcome()) == protocol.VERSION


def test_welcome_has_the_hubs_instance() -> None:
    assert protocol.read_welcome(protocol.welcome(b"hub-hub-")) == b"hub-hub-"


def test_a_refusal_comes_back_as_it_was_written() -> None:
    refusal = RefusedQuestion("room_full", "the room has 5 members — no more", b'{"retry_after":1}')
    assert protocol.read_refusal(refusal.body()) == refusal


def test_a_text_has_at_most_64_kilobytes() -> None:
    with pytest.raises(ValueError, match="65535"):
        protocol.text("x" * 65_536)


@pytest.mark.parametrize("body", [b"", b"\x01", protocol.VERSION.to_bytes(2, "little") + b"short"])
def test_a_broken_hello_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        protocol.read_hello(body)


@pytest.mark.parametrize("body", [b"", b"\x05\x00abc", b"\x01\x00\xff", b"\x00\x00\x09\x00"])
def test_a_broken_refusal_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        protocol.read_refusal(body)
