"""The schemas that routes share: their bounds, and their most frequent parameters."""

from __future__ import annotations

from typing import Any

from ...brokers.contract import MAX_PAGE
from .routes import Parameter, Schema

LONGEST_NAME = 256
"""Characters of a room's name or a member's id. The broker is stricter."""

LONGEST_KEY = 256
"""Characters of an idempotency key."""

LONGEST_TYPE = 255
"""Characters of a content type."""

LONGEST_MOUNT = 512
"""Characters of a mount's path."""

LONGEST_ID = 64
"""Characters of a connection's id."""

LONGEST_LISTENER = 64
"""Characters of a listener's name."""

LONGEST_USER = 255
"""Characters of a user's name."""

REMOVED = 4403
"""The close code for a client that is sent away; as 403 Forbidden."""


def text(most: int | None = None, least: int = 1, **more: Any) -> Schema:
    return {"type": "string", "minLength": least, **({} if most is None else {"maxLength": most}), **more}


def whole(least: int, most: int, default: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most, "default": default}


def object_of(properties: Schema, *required: str, closed: bool = False) -> Schema:
    """`closed`: nothing else may be in it."""
    return {"type": "object", "properties": properties, "required": list(required), **({"additionalProperties": False} if closed else {})}


NAME = {"type": "string"}
NUMBER = {"type": "integer"}
CODE = Parameter("code", "query", "The close code.", whole(3000, 4999, REMOVED))
REASON = Parameter("reason", "query", "The reason that the client is told.", text(120, 0, default="removed"))
LIMIT = Parameter("limit", "query", "The most entries on the page.", whole(1, MAX_PAGE, 100))
