"""The requests of a client in rooms.v1.json: text messages that each hold one JSON object.

    {"type": "subscribe", "id": 1, "room": "lobby", "since": {"epoch": "9c1d...", "offset": 12}, "presence": true}
    {"type": "subscribe", "id": 2, "pattern": "prices.*", "since": {"prices.eur": {"epoch": "77aa...", "offset": 3}}}
    {"type": "unsubscribe", "id": 3, "room": "lobby"}                       or with "pattern"
    {"type": "publish", "id": 4, "room": "lobby", "data": "hello", "key": "2f6c...", "echo": true}
        Binary data is in base64, with "encoding": "base64". `key`, up to 128 characters: the same key again is the same message.
        `echo`: whether this client is given the message too; without it the mount's `echo_to_sender` decides.
    {"type": "history", "id": 5, "room": "lobby", "since": {...}, "limit": 100, "reverse": false}
    {"type": "presence", "id": 6, "room": "lobby", "limit": 100}
    {"type": "ping", "id": 7}

`type` is always required, and `data` for a publish. A request has a `room` or a `pattern`; `room` may be left out if the path names one.
`id` is text of up to 64 characters or a whole number, chosen by the client, and the answer has the same. Limits of pages are from 1 to
1000. A field or a type that is not listed here is an error, and so is a value of another kind.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...brokers.contract import MAX_PAGE, Position
from ...core.json_text import TooManyParts, read_json, whole_number

MAX_ID_CHARACTERS = 64
MAX_KEY_CHARACTERS = 128
MAX_NAME_CHARACTERS = 256
"""Of a room, a pattern or an epoch. The broker is stricter with the first two."""

MAX_KNOWN_ROOMS = 100
"""Rooms in the `since` of one pattern subscription."""

MAX_PARTS = 1000
"""Commas and opening brackets of a request, outside of its strings. One about MAX_KNOWN_ROOMS rooms has some 300.

A mebibyte of `[[]],`, which deflates to 1.5 KB, is 400,000 lists and would take a quarter of a second to parse."""

MAX_WHOLE_NUMBER = 2**53 - 1
"""The largest whole number that JavaScript holds exactly."""

Id = str | int | None


class Fault(Exception):
    """A request that is malformed. `code` is stable, the text is for people, `id` is the request's."""

    def __init__(self, code: str, text: str, id: Id = None) -> None:
        super().__init__(text)
        self.code = code
        self.id = id


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has the right form."""

    type: str
    id: Id = None
    room: str | None = None
    pattern: str | None = None
    since: Any = None
    """A Position; where there is a pattern, positions by room."""
    presence: bool = False
    data: bytes = b""
    text: bool = True
    key: str | None = None
    echo: bool | None = None
    limit: int = 100
    reverse: bool = False


def parse(payload: bytes) -> Request:
    """The request in a text message. Raises Fault for anything else."""
    try:
        given = read_json(payload.decode(), MAX_PARTS)
    except TooManyParts:
        raise Fault("bad_message", f"expected at most {MAX_PARTS} commas and brackets") from None
    except ValueError:
        raise Fault("bad_json", "expected JSON") from None
    if not isinstance(given, dict):
        raise Fault("bad_message", "expected a JSON object")
    id = _id(given.pop("id", None))
    try:
        return _request(given, id)
    except Fault as fault:
        fault.id = id
        raise


def _request(given: dict[str, Any], id: Id) -> Request:
    kind = given.pop("type", None)
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None:
        raise Fault("bad_message", f"type: expected one of {', '.join(FIELDS)}")
    encoding = given.pop("encoding", None) if "data" in fields else None
    if encoding not in (None, "base64"):
        raise Fault("bad_message", 'encoding: expected "base64"')
    values: dict[str, Any] = {}
    for name, value in given.items():
        read = fields.get(name)
        if read is None:
            raise Fault("bad_message", f"{kind}: unknown field; the fields are {', '.join(['id', *fields])}")
        values[name] = read(name, value)
    if "pattern" in values:
        if "room" in values or "presence" in values:
            raise Fault("bad_message", "expected a room or a pattern; presence is of rooms")
        if "since" in values:
            values["since"] = _known("since", values["since"])
    elif "since" in values:
        values["since"] = _position("since", values["since"])
    if "data" in fields:
        values |= _data(values, encoding)
    return Request(kind, id, **values)


def _data(values: Mapping[str, Any], encoding: str | None) -> dict[str, Any]:
    if "data" not in values:
        raise Fault("bad_message", "data: missing")
    data: str = values["data"]
    try:
        if encoding is None:
            return {"data": data.encode(), "text": True}
        return {"data": base64.b64decode(data, validate=True), "text": False}
    except UnicodeEncodeError:
        raise Fault("bad_message", "data: expected text without lone surrogates") from None
    except (binascii.Error, ValueError):
        raise Fault("bad_message", "data: expected base64") from None


def _id(value: object) -> Id:
    if value is None or (isinstance(value, str) and len(value) <= MAX_ID_CHARACTERS):
        return value
    number = whole_number(value)
    if number is None or abs(number) > MAX_WHOLE_NUMBER:
        raise Fault("bad_message", f"id: expected text of up to {MAX_ID_CHARACTERS} characters, or a whole number")
    return number


def _name(field: str, value: object) -> str:
    return _text(field, value, MAX_NAME_CHARACTERS)


def _text(field: str, value: object, most: int | None = None) -> str:
    if not isinstance(value, str) or (most is not None and not 0 < len(value) <= most):
        raise Fault("bad_message", f"{field}: expected text" + (f" of 1 to {most} characters" if most else ""))
    return value


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Fault("bad_message", f"{field}: expected true or false")
    return value


def _limit(field: str, value: object) -> int:
    number = whole_number(value)
    if number is None or not 1 <= number <= MAX_PAGE:
        raise Fault("bad_message", f"{field}: expected a whole number from 1 to {MAX_PAGE}")
    return number


def _key(field: str, value: object) -> str:
    return _text(field, value, MAX_KEY_CHARACTERS)


def _any(field: str, value: object) -> object:
    return value


def _position(field: str, value: object) -> Position:
    if isinstance(value, dict) and value.keys() == {"epoch", "offset"}:
        epoch, offset = value["epoch"], whole_number(value["offset"])
        if isinstance(epoch, str) and len(epoch) <= MAX_NAME_CHARACTERS and offset is not None and 0 <= offset <= MAX_WHOLE_NUMBER:
            return Position(epoch, offset)
    raise Fault("bad_message", f'{field}: expected {{"epoch": text, "offset": a whole number}}')


def _known(field: str, value: object) -> dict[str, Position]:
    if not isinstance(value, dict) or len(value) > MAX_KNOWN_ROOMS:
        raise Fault("bad_message", f"{field}: expected positions by room, of up to {MAX_KNOWN_ROOMS} rooms")
    return {_name(field, room): _position(field, position) for room, position in value.items()}


FIELDS: Mapping[str, Mapping[str, Callable[[str, Any], Any]]] = {
    "subscribe": {"room": _name, "pattern": _name, "since": _any, "presence": _flag},
    "unsubscribe": {"room": _name, "pattern": _name},
    "publish": {"room": _name, "data": _text, "key": _key, "echo": _flag},
    "history": {"room": _name, "since": _any, "limit": _limit, "reverse": _flag},
    "presence": {"room": _name, "limit": _limit},
    "ping": {},
}
"""The fields of each type besides `type` and `id`, and the functions that read them."""
