"""Whole connections, from the first byte to the last, with every frame reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

from tests.support.fakes import READERS, server_frames
from tests.support.fuzzing import again, run
from tests.support.streams import Story, story
from tests.support.world import Outcome, lives

FOUND: list[Story] = []
"""Clients that once made something go wrong."""

PACED = ("/rated", "/latest")
"""Mounts with limits of the rate."""

WORDED = (1002, 1007, 1009)
"""Codes whose reasons Autobahn's parser words in its own way."""


def check(stories: Sequence[Story]) -> None:
    """No client does harm, no object stays, and the frame readers differ only in the wording of a reason."""
    outcomes = {reader: lives(reader, list(stories)) for reader in READERS}
    for reader, seen in outcomes.items():
        for pair in zip(outcomes["python"], seen, strict=True):
            if reader == "off" and may_differ(*pair):
                continue
            one, other = map(without_wording, pair) if reader == "off" else pair
            if one != other:
                raise AssertionError(f"python / {reader}: {'; '.join(differences(one, other))}")


def may_differ(one: Outcome, off: Outcome) -> bool:
    """Where Autobahn's parser may end a connection elsewhere: it inflates what there is of a compressed frame, and the frame readers wait
    for all of it; and with limits of the rate it looks at them after each message, and the frame readers after each pass.
    """
    if set(one.mounts) & set(PACED):
        return True
    early = [code for code, _, _ in off.ended] in ([1007], [1009])
    return early and [by for _, _, by in one.ended] != ["client"] and one.messages == off.messages


def differences(one: Outcome, other: Outcome) -> Iterator[str]:
    """The difference, with both values, from shortly before its place."""
    others = asdict(other)
    for name, value in asdict(one).items():
        if value != others[name]:
            here, there = repr(value), repr(others[name])
            same = next((place for place, (a, b) in enumerate(zip(here, there, strict=False)) if a != b), 0)
            start = max(0, same - 60)
            yield f"{name}: ...{here[start : start + 300]} / ...{there[start : start + 300]}"


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
