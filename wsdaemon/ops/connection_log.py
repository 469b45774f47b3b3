"""The one line at the end of each connection."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

from twisted.logger import LogEvent, Logger, LogLevel

from ..core.connection import Connection
from ..core.sizes import size_text
from ..core.wire_halves import Counts
from .log_format import RECORD, cut, printable

USER_AGENT_LIMIT: Final = 256
"""Characters of the user agent that are logged."""

PATH_LIMIT: Final = 512
"""Characters of the path, and of the room in it, that are logged."""

NO_TEXT: Final = '""'

_PLAIN: Final = re.compile(r"[!#-\[\]-~]+")
"""Text that needs no quotes in the line."""


@dataclass(slots=True)
class ConnectionRecord:
    """The facts about a connection that has ended: no payload, no query string, no header but the user agent.

    `peer` is the client's address, `user` the name that authentication found. `mount` is the mount's pattern and `path` the path that was
    asked for; `room` is the part of it that the pattern's parameters took. `seconds` is how long the connection was open; `in` is from the
    client; bytes are those of frames on the wire, headers included; `code` is the close code (RFC 6455 7.4; 1006 without a Close frame);
    `closed_by` is "client", "server" or "network". `traceparent` is the valid one of the request (W3C Trace Context).
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
    user: str | None = None
    path: str | None = None
    room: str | None = None
    traceparent: str | None = None

    @property
    def address(self) -> str:
        """The host of `peer`, without its port."""
        if self.peer.startswith("["):
            return self.peer[1:].partition("]")[0]
        return self.peer.partition(":")[0] if self.peer.count(":") == 1 else self.peer

    def log_fields(self) -> dict[str, str | int | float | None]:
        """The fields of JSON and of the journal, one for each attribute."""
        fields: dict[str, str | int | float | None] = {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}
        fields["seconds"] = round(self.seconds, 3)
        if self.user_agent is not None:
            fields["user_agent"] = cut(self.user_agent, USER_AGENT_LIMIT)
        for name, value in (("path", self.path), ("room", self.room)):
            if value is not None:
                fields[name] = cut(value, PATH_LIMIT)
        return fields

    def __str__(self) -> str:
        agent = self.user_agent
        user = "" if self.user is None else f" user={quoted(self.user)}"
        room = "" if self.room is None else f" room={quoted(cut(self.room, PATH_LIMIT))}"
        trace = "" if self.traceparent is None else f" traceparent={self.traceparent}"
        reason = quoted(self.reason) if self.reason else NO_TEXT
        path = self.path or self.mount or "-"
        if not _PLAIN.fullmatch(path) or len(path) > PATH_LIMIT:
            path = quoted(cut(path, PATH_LIMIT))
        return (
            f"closed {self.id} {self.peer}{user} on {self.listener} {path}{room} by {self.closed_by} {self.code} {reason}"
            f" after {self.seconds:.1f}s, in {_counted(self.messages_in)} {size_text(self.bytes_in)},"
            f" out {_counted(self.messages_out)} {size_text(self.bytes_out)},"
            f" ua={'-' if agent is None else quoted(cut(agent, USER_AGENT_LIMIT))}{trace}"
        )


def record_of(connection: Connection, counts: Counts) -> ConnectionRecord:
    """The record of a connection that has just ended."""
    handshake = connection.handshake
    params, identity = handshake.params, handshake.identity
    return ConnectionRecord(
        connection.id,
        str(handshake.peer),
        handshake.listener,
        handshake.mount,
        handshake.user_agent,
        time.monotonic() - connection.opened_at,
        counts.messages_in,
        counts.messages_out,
        counts.bytes_in,
        counts.bytes_out,
        connection.close_code or 0,
        connection.close_reason,
        connection.closed_by,
        (identity.name or None) if identity is not None else None,
        handshake.path,
        "/".join(params.values()) if params else None,
        handshake.traceparent,
    )


def connection_closed(logger: Logger, record: ConnectionRecord, line: object = None) -> None:
    """Log the record at level info: as a line in text, with each of its fields on its own in JSON and in the journal.

    `str(line)` is the text, by default the record's own.
    """
    # The text is made by str(record), and JSON's fields by its own, so only if this level is wanted and only in the form that is asked for.
    # As Logger.info() does, but for its check of the level, which costs half as much as writing the line.
    observe: Callable[[LogEvent], None] = cast(Any, logger.observer)  # mypy does not read zope's interfaces
    event: LogEvent = {
        "record": record, "event": "connection_closed", "log_logger": logger, "log_level": LogLevel.info,
        "log_namespace": logger.namespace, "log_source": None, "log_format": RECORD, "log_time": time.time(),
    }  # fmt: skip
    if line is not None:
        event |= {"line": line, "log_format": "{line}"}
    observe(event)


def is_plain(text: str) -> bool:
    """Whether the text needs no quotes in a line: printable ASCII without blanks, quotes and backslashes."""
    return _PLAIN.fullmatch(text) is not None


def quoted(text: str) -> str:
    r"""The text in double quotes, with quotes, backslashes and what is not printable escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _counted(messages: int) -> str:
    return f"{messages} msg" if messages == 1 else f"{messages} msgs"
