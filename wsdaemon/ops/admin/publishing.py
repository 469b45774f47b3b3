"""The body of POST /api/publish, and what is answered.

    {"messages": [{"room": "lobby", "data": "hello", "key": "2f6c..."},
                  {"room": "lobby", "data": "AAEC", "encoding": "base64", "content_type": "image/png", "mount": "/rooms/{room}"}]}

    {"results": [{"room": "lobby", "epoch": "9c1d...", "offset": 13, "duplicate": false, "members": 2},
                 {"room": "lobby", "title": "Too Many Requests", "status": 429, "code": "rate_limited", "detail": "...", "retry_after": 1}]}

`room` and `data` are needed. A body of another form is refused as a whole, and then nothing is published.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...core.json_text import TooManyParts, read_json
from .contract import PageProblem
from .room_table import MOST_MESSAGES, WANTED
from .routes import expected, is_text

MAX_PARTS = 20_000
"""Commas and brackets of a body. A batch of MOST_MESSAGES messages with all their fields has some 8,000 of them."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message to publish."""

    room: str
    payload: bytes = field(repr=False)
    text: bool
    content_type: str | None = None
    key: str | None = None
    mount: str | None = None


def read_body(body: bytes) -> Any:
    """The JSON value of a body. PageProblem 400."""
    try:
        return read_json(body.decode(), MAX_PARTS)
    except TooManyParts as error:
        raise PageProblem(400, "bad_json", f"The body has {error}.") from None
    except ValueError:
        raise PageProblem(400, "bad_json", "The body is not JSON.") from None


def bad(detail: str) -> PageProblem:
    """A body that is JSON, but not what was expected."""
    return PageProblem(400, "bad_body", detail)


def parse(body: bytes) -> list[Wanted]:
    """The messages in a body. PageProblem 400."""
    given = read_body(body)
    if not isinstance(given, dict) or given.keys() != {"messages"} or not isinstance(given["messages"], list):
        raise bad('Expected {"messages": [...]}.')
    if len(given["messages"]) > MOST_MESSAGES:
        raise bad(f"Expected up to {MOST_MESSAGES} messages.")
    return list(_messages(given["messages"]))


def _messages(given: list[Any]) -> Iterator[Wanted]:
    for number, one in enumerate(given):
        try:
            yield _message(one)
        except PageProblem as problem:
            raise bad(f"messages[{number}]{problem.detail}") from None


def _message(given: Any) -> Wanted:
    if not isinstance(given, dict):
        raise bad(": expected an object.")
    for name, value in given.items():
        if name not in WANTED:
            raise bad(f": unknown field; the fields are {', '.join(WANTED)}.")
        if not is_text(value, WANTED[name]):
            raise bad(f".{name}: expected {expected(WANTED[name])}.")
        if not _is_unicode(value):
            raise bad(f".{name}: expected text without lone surrogates.")
    missing = next((name for name in ("room", "data") if name not in given), None)
    if missing is not None:
        raise bad(f".{missing}: missing.")
    encoding = given.pop("encoding", None)
    data = given.pop("data")
    if encoding is None:
        return Wanted(payload=data.encode(), text=True, **given)
    try:
        return Wanted(payload=base64.b64decode(data, validate=True), text=False, **given)
    except (binascii.Error, ValueError):
        raise bad(".data: expected base64.") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
