"""Messages as JSON: plain values, and models of msgspec or pydantic, neither of which is needed here."""

from __future__ import annotations

import importlib
import json
from typing import Any

from .json_text import read_sendable_json

MAX_PARTS = 100_000
"""Commas and opening brackets of one message: they bound the time that reading it takes."""

_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class BadMessage(ValueError):
    """A message of the client is not the JSON that the app expects. If the app does not catch it, the connection closes with 1007."""


def to_json(value: object) -> str:
    """The JSON text of a value, or of a model of msgspec or pydantic. TypeError or ValueError if it has none."""
    dump = getattr(value, "model_dump_json", None)
    if dump is not None:
        return str(dump())
    if hasattr(type(value), "__struct_fields__"):
        return str(importlib.import_module("msgspec").json.encode(value).decode())
    return _TO_JSON(value)



def from_json(message: str | bytes, kind: Any = None) -> Any:
    """The value of a message; with `kind`, a class of msgspec or pydantic, an object of it. BadMessage if it is not one.

    A message is read with the same limits before `kind` sees it: MAX_PARTS, finite numbers, strings that UTF-8 can carry. TypeError for
    a kind that is no such class.
    """
    validate = getattr(kind, "model_validate_json", None)
    if kind is not None and validate is None and not hasattr(kind, "__struct_fields__"):
        raise TypeError(f"expected a model of pydantic or a Struct of msgspec, not {kind!r}")
    try:
        value = read_sendable_json(message if isinstance(message, str) else message.decode(), MAX_PARTS)
        if kind is None:
            return value
        if validate is not None:
            return validate(message)
        return importlib.import_module("msgspec").json.decode(message, type=kind)
    except Exception as error:
        raise BadMessage(str(error)) from error
