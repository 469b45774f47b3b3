"""Whole connections, from the first byte to the last, with every frame reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from fakes import READERS, server_frames
from fuzzing import again, run
from streams import Story, story
from world import Outcome, lives

FOUND: list[Story] = []
"""Clients that once made something go wrong."""

WORDED = (1002, 1007, 1009)
"""Codes whose reasons Autobahn's parser words in its own way."""


def check(stories: Sequence[Story]) -> None:
    """Nobody does any harm, nothing stays behind, and no frame reader can be told from another but by the wording of a reason."""
    outcomes = {reader: lives(reader, list(stories)) for reader in READERS}
    for reader, seen in outcomes.items():
        for one, other in zip(outcomes["python"], seen, strict=True):
            if reader == "off":
                one, other = without_wording(one), without_wording(other)
            if one != other:
                raise AssertionError(f"python / {reader}: {'; '.join(differences(one, other))}")


def differences(one: Outcome, other: Outcome) -> Iterator[str]:
    """What differs, with both values."""
    others = asdict(other)
    for name, value in asdict(one).items():
        if value != others[name]:
            yield f"{name}: {value!r} / {others[name]!r}"


def without_wording(outcome: Outcome) -> Outcome:
    """The same without the reasons of a violation."""
    head, empty_line, rest = outcome.sent.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 101"):
        rest = repr([replace(one, payload=one.payload[:2]) if one.opcode == 8 else one for one in server_frames(rest)]).encode()
    ends = [(code, "" if code in WORDED else reason) for code, reason in outcome.ends]
    ended = [(code, "" if code in WORDED else reason, by) for code, reason, by in outcome.ended]
    return replace(outcome, sent=head + empty_line + rest, ends=ends, ended=ended)


def test_connections() -> None:
    run("connections", story, check)


def test_found() -> None:
    for one in FOUND:
        again(one, check)
