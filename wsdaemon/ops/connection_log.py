"""The one line at the end of each connection."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from twisted.logger import Logger

from wsdaemon.ops.log_format import cut, printable

USER_AGENT_LIMIT: Final = 256
"""Characters of the user agent that are logged."""


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """What there is to say about a connection that has ended: no payload, no query string, no header but the user agent.

    ``seconds`` is how long it was open; ``in`` is from the client; bytes are those on the wire, frame headers included; ``code`` is
    the close code (RFC 6455 section 7.4; 1006 if there was no close frame); ``closed_by`` is "client", "server" or "network".
    """

    id: str
    peer: str
    listener: str
    mount: str | None
    user_agent: str | None
    seconds: float
    messages_in: int
    messages_out: int
    bytes_in: int
    bytes_out: int
    code: int
    reason: str
    closed_by: str

    def log_fields(self) -> dict[str, str | int | float | None]:
        """What JSON and the journal show, each on its own."""
        fields: dict[str, str | int | float | None] = {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}
        fields["seconds"] = round(self.seconds, 3)
        if self.user_agent is not None:
            fields["user_agent"] = cut(self.user_agent, USER_AGENT_LIMIT)
        return fields

    def __str__(self) -> str:
        user_agent = "-" if self.user_agent is None else quoted(cut(self.user_agent, USER_AGENT_LIMIT))
        return (
            f"closed {self.id} {self.peer} on {self.listener} {self.mount or '-'} by {self.closed_by} {self.code} {quoted(self.reason)}"
            f" after {self.seconds:.1f}s, in {_counted(self.messages_in)} {size_text(self.bytes_in)},"
            f" out {_counted(self.messages_out)} {size_text(self.bytes_out)}, ua={user_agent}"
        )


def connection_closed(logger: Logger, record: ConnectionRecord) -> None:
    """Log the record at level info: as a line in text, with each of its fields on its own in JSON and in the journal."""
    # The text is made by str(record), and JSON's fields by its own, so only if this level is wanted and only what the form needs.
    logger.info("{record}", event="connection_closed", record=record)


def quoted(text: str) -> str:
    r"""The text in double quotes, with quotes, backslashes and what is not printable escaped."""
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def size_text(count: int) -> str:
    """A number of bytes as ``512 B``, ``3.4 KiB``, ``1.0 MiB``."""
    if count < 1024:
        return f"{count} B"
    size = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1023.95:  # what would be rounded to 1024.0 belongs to the next unit
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def _counted(messages: int) -> str:
    return f"{messages} msg" if messages == 1 else f"{messages} msgs"
