"""The line at the end of a connection in the operator's own format, `[logging] access_format`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ..settings.access import split_format
from .connection_log import ConnectionRecord, is_plain, quoted

VALUE_LIMIT: Final = 512
"""Characters of one value."""

_SIGNS: Final = re.compile(r'\\.|"')
"""A quote, or a backslash and the character that it makes an ordinary one."""

Value = Callable[[ConnectionRecord], object]

_VALUES: Final[dict[str, Value]] = {
    "time": lambda record: datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
    "seconds": lambda record: f"{record.seconds:.3f}",
}
"""The fields that are not as the record has them."""


class AccessFormat:
    """A format, ready to make lines. No value can end a line, and none can end the quotes that the format puts around it."""

    def __init__(self, text: str) -> None:
        """`text` is as AccessFormatForm accepts it."""
        parts = split_format(text)
        self._parts: list[str | _Field] = []
        in_quotes = False
        for at, part in enumerate(parts):
            self._parts.append(part.literal)
            in_quotes ^= _SIGNS.findall(part.literal).count('"') % 2 == 1
            if part.field is not None:
                after = parts[at + 1].literal if at + 1 < len(parts) else ""
                alone = in_quotes and part.literal.endswith('"') and after.startswith('"')
                self._parts.append(_Field(part.field, in_quotes, alone))

    def line(self, record: ConnectionRecord) -> str:
        """The line of one connection."""
        return "".join([part if isinstance(part, str) else part.text(record) for part in self._parts])


@dataclass(frozen=True, slots=True)
class _Field:
    """A field in a format. `in_quotes`: the format has quotes around it, perhaps with other text; `alone`: with nothing else in them."""

    name: str
    in_quotes: bool
    alone: bool

    def text(self, record: ConnectionRecord) -> str:
        value = _VALUES[self.name](record) if self.name in _VALUES else getattr(record, self.name)
        if value is None or value == "":
            return "" if self.alone else "-"
        text = str(value)
        if len(text) > VALUE_LIMIT:
            text = text[:VALUE_LIMIT] + "..."
        if self.in_quotes:
            return quoted(text)[1:-1]
        return text if is_plain(text) else quoted(text)


@dataclass(frozen=True, slots=True)
class AccessLine:
    """A line that is made if the log writes it as text."""

    format: AccessFormat
    record: ConnectionRecord

    def __str__(self) -> str:
        return self.format.line(self.record)
