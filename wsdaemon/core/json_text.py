"""JSON from a client (RFC 8259), read in a time that a limit bounds: its commas and brackets are counted before any value is made of them.

Each value but the first stands behind a comma or an opening bracket, so their number bounds the values that parsing makes. Without that
limit 4 MiB of `[],` make 1.4 million lists, which takes a fifth of a second and deflates to a few KB.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

UNCOUNTED_CHARACTERS = 16 * 1024
"""Texts up to this length are parsed without counting: whatever stands in one, parsing it takes about a millisecond."""

MAX_DIGITS = 100
"""Digits of a number. Python reads up to 4300 of them, in a time that grows with the square."""


class TooManyParts(ValueError):
    """The text has more commas and opening brackets than the caller allows."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_digits(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_digits)


def read_json(text: str, max_parts: int, decoder: json.JSONDecoder = _DECODER) -> Any:
    """The value that `text` holds. `max_parts`: how many commas and opening brackets may stand outside of its strings.

    Raises TooManyParts, and ValueError for a text that is not JSON: NaN, Infinity, a number of more than MAX_DIGITS digits and brackets
    nested deeper than Python's recursion limit are not JSON either.
    """
    if len(text) > UNCOUNTED_CHARACTERS:
        _check_parts(text, max_parts)
    try:
        return decoder.decode(text)
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None


def read_sendable_json(text: str, max_parts: int) -> Any:
    """As read_json(), and every value can be written as JSON again.

    Raises ValueError also for a number that is no finite float, such as 1e999, and for a string with a lone surrogate, because it has
    no UTF-8.
    """
    value = read_json(text, max_parts, _FINITE)
    if _ESCAPED_SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("a string has a lone surrogate") from None
        except RecursionError:
            raise ValueError("brackets are nested too deeply") from None
    return value


def whole_number(value: object) -> int | None:
    """The whole number that a JSON value is; None for any other value.

    JSON has one kind of number, and clients whose language has only floats, such as Godot, write 3 as `3.0`.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _check_parts(text: str, max_parts: int) -> None:
    """TooManyParts when more than `max_parts` stand outside of strings. ValueError for a string that does not end.

    Each string is passed over in one step, because it may hold a whole document: that costs at most as much as parsing it.
    """
    parts = position = 0
    for _ in range(2 * max_parts + 2):  # a name and a string for each value: a text with more strings is not JSON
        quote = text.find('"', position)
        end = len(text) if quote < 0 else quote
        parts += sum(text.count(part, position, end) for part in ",[{")
        if parts > max_parts:
            break
        if quote < 0 or not (position := text.find('"', quote + 1) + 1):
            return
        if text[position - 2] == "\\":  # that quote may be escaped
            _, position = _DECODER.raw_decode(text, quote)
    raise TooManyParts(f"more than {max_parts} commas and brackets")


def _read_finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large for a float")
    return value


_FINITE = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_digits, parse_float=_read_finite)

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Half of a pair in an escape. It may be an escaped backslash before a `u`, so that it is only a reason to look."""
