"""The trace that a client's request belongs to: the traceparent header of W3C Trace Context, level 1."""

from __future__ import annotations

import re
from typing import Final

_TRACEPARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE: Final = "0" * 32
_NO_PARENT: Final = "0" * 16
_SAMPLED: Final = 1


def checked_traceparent(lines: list[str]) -> str | None:
    """The value of a request's traceparent headers as version 00; None if there is no valid one (section 3.2 of the recommendation).

    More than one header, capitals, a trace or parent of zeros, version ff, and more after version 00 are not valid. Of a later version
    the part that version 00 has is taken, and of its flags the one that is known, as section 4.3 asks.
    """
    if len(lines) != 1 or (found := _TRACEPARENT.fullmatch(lines[0])) is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or trace == _NO_TRACE or parent == _NO_PARENT:
        return None
    if version == "00":
        return None if more is not None else lines[0]
    return f"00-{trace}-{parent}-{int(flags, 16) & _SAMPLED:02x}"
