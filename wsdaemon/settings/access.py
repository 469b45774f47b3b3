"""The form of `[logging] access_format`: literal text with named fields in braces."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from wsdaemon.settings.form import Form, has_control_characters
from wsdaemon.settings.problems import BadValue, did_you_mean

FIELDS: Final = (
    "time", "id", "peer", "address", "user", "listener", "mount", "path", "room", "user_agent", "traceparent", "seconds", "messages_in",
    "messages_out", "bytes_in", "bytes_out", "code", "reason", "closed_by",
)  # fmt: skip
"""The fields that a format may name; docs/logs.md describes them."""

MAX_CHARACTERS: Final = 1024
"""Of the format itself."""

MAX_FIELDS: Final = 64
"""Fields of one format, repeated ones counted: the length of a line is bounded by them."""


@dataclass(frozen=True, slots=True)
class FormatPart:
    """Literal text, and the field that follows it; None after the last one."""

    literal: str
    field: str | None


def split_format(text: str) -> list[FormatPart]:
    """The parts of a format, with `{{` and `}}` as braces. BadValue if a field is unknown, or is more than a name."""
    parts = []
    try:
        for literal, field, specification, conversion in string.Formatter().parse(text):
            if field is not None and field not in FIELDS:
                hint = did_you_mean(field, FIELDS, "{{{}}}")
                raise BadValue(f"there is no field {{{field}}}; the fields are {', '.join(FIELDS)}{hint}")
            if specification or conversion:
                raise BadValue(f"expected {{{field}}} alone: a field has no format of its own")
            parts.append(FormatPart(literal, field))
    except ValueError as error:
        if isinstance(error, BadValue):
            raise
        raise BadValue(f"expected text with fields such as {{path}}, and {{{{ and }}}} for braces; {error}") from None
    return parts


@dataclass(frozen=True, slots=True)
class AccessFormatForm(Form[str]):
    """Text with fields in braces, or nothing for the daemon's own line."""

    @property
    def expected(self) -> str:
        return "text with fields such as {peer} {path} {code}, or nothing"

    def parse(self, text: str) -> str:
        if not text:
            return text
        if len(text) > MAX_CHARACTERS or has_control_characters(text):
            raise self.refusal(f"; at most {MAX_CHARACTERS} printable characters")
        fields = [part.field for part in split_format(text) if part.field is not None]
        if not 0 < len(fields) <= MAX_FIELDS:
            raise self.refusal(f"; from 1 to {MAX_FIELDS} fields")
        return text

    def accept(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refusal()
        return self.parse(value)


AccessFormat: TypeAlias = Annotated[str, AccessFormatForm()]
