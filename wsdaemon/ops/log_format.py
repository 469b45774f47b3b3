"""Log events as bytes: a readable line, or one JSON object.

Values in an event may come from a client (a user agent, a close reason, a path). Nothing in them may end a line, start a
forged one or send a command to the terminal: text output escapes every character that is not printable, and JSON output is ASCII.
"""

from __future__ import annotations

import enum
import functools
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from twisted.logger import LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure

MESSAGE_LIMIT: Final = 16 * 1024
"""Characters of one message; the rest is cut, and the cut is marked."""

FIELD_LIMIT: Final = 4 * 1024
"""Characters of one text field in JSON and in the journal."""

FAILURE_LIMIT: Final = 64 * 1024
"""Characters of one traceback; the middle is cut, because the first and last lines are the most useful."""

SOURCES_REMEMBERED: Final = 256
"""Pairs of level and namespace whose text is kept."""

RECORD: Final = "{record}"
"""The format of events whose message is the text of their `record`."""

LEVELS: Final = (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical)
RANKS: Final[dict[Any, int]] = {level: rank for rank, level in enumerate(LEVELS)}
PRIORITIES: Final[dict[Any, int]] = dict(zip(LEVELS, (7, 6, 4, 3, 2), strict=True))
"""The syslog priority of each level (RFC 5424 section 6.2.1)."""

_COLOURS: Final[dict[Any, str]] = dict(zip(LEVELS, ("\x1b[2m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1;31m"), strict=True))
_COLOUR_END: Final = "\x1b[0m"
_OWN_KEYS: Final = frozenset(("time", "level", "namespace", "message", "failure"))
# The fields that twisted.python.log adds to its events. They repeat log_text.
_LEGACY_KEYS: Final = frozenset(("time", "message", "system", "isError", "format", "why", "failure", "printed", "logLevel"))

SimpleValue = str | int | float | bool | None


class Renderer(Protocol):
    """Turns an event into the bytes of one entry."""

    def __call__(self, event: LogEvent) -> bytes | None:
        """The entry, or None for an event without a message."""


class TextShape(enum.Enum):
    """The parts around the message in text output."""

    PLAIN = "time, level, namespace"
    COLOURED = "the same, with the level in colour"
    PREFIXED = "a syslog priority as <N> and the namespace; the reader of the stream adds the time"


def printable(text: str) -> str:
    r"""The text with each character that is not printable written as an escape such as ``\n`` or ``\x1b``.

    That covers controls (C0 and C1), line and paragraph separators, bidirectional overrides and lone surrogates.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in text)


def cut(text: str, limit: int) -> str:
    """At most ``limit`` characters of the text, with a mark at the cut."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} characters cut)"


def level_of(event: LogEvent) -> Any:
    """The event's level; an event without a known one counts as info."""
    level = event.get("log_level")
    return level if level in RANKS else LogLevel.info


def namespace_of(event: LogEvent) -> str:
    """The event's namespace; for an event of ``twisted.python.log`` its system, which says more."""
    name = event.get("log_namespace")
    if name == "log_legacy" and isinstance(event.get("log_system"), str) and event["log_system"] != "-":
        name = event["log_system"]
    if not isinstance(name, str) or not name:
        return "-"
    return name if len(name) <= 200 else cut(name, 200)


@functools.lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """A second since 1970 as ISO 8601 in UTC. Most events of a busy daemon are of the same one as the event before."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:-6]


def time_of(event: LogEvent) -> str:
    """The event's time as ISO 8601 in UTC with milliseconds; now, if the event has no usable time."""
    try:
        seconds, milliseconds = divmod(int(event["log_time"] * 1000), 1000)
        return f"{_second(seconds)}.{milliseconds:03}Z"
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def message_of(event: LogEvent) -> str:
    """The event's message. Never raises: where formatting fails, the message is the format itself and the reason.

    Twisted would then write out the whole event. We do not, because an event may carry objects that show a secret.
    """
    try:
        text = str(event["record"]) if event.get("log_format") == RECORD else _formatted(event)
        return text if len(text) <= MESSAGE_LIMIT else cut(text, MESSAGE_LIMIT)
    except Exception as error:
        return cut(f"{event.get('log_format')!r} (could not be formatted: {_describe(error)})", MESSAGE_LIMIT)


def _formatted(event: LogEvent) -> str:
    template = event.get("log_format")
    if _is_legacy_error(event):
        return str(event.get("why") or "Unhandled error")
    if template is None:
        return ""
    if isinstance(template, bytes):
        template = template.decode("utf-8", "replace")
    if not isinstance(template, str):
        raise TypeError("the format is not text")
    if "()" not in template and "log_flattened" not in event:
        return template.format_map(event)
    text = formatEvent(event)
    if text.startswith(("Unable to format event", "MESSAGE LOST")):
        raise ValueError("a call in the format failed")
    return text


def _is_legacy_error(event: LogEvent) -> bool:
    """True for ``log.err()``: its text has the traceback inside, which we set beneath the line ourselves."""
    return bool(event.get("isError")) and event.get("log_format") == "{log_text}" and isinstance(event.get("failure"), Failure)


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def failure_of(event: LogEvent) -> str | None:
    """The traceback of the event's failure, or its stack as text in `log_stack`; None if it has neither. Never raises."""
    failure = event.get("log_failure")
    if failure is None and "isError" in event and _is_legacy_error(event):
        failure = event["failure"]
    if failure is None:
        stack = event.get("log_stack")
        if not isinstance(stack, str):
            return None
        text = stack
    else:
        try:
            text = str(failure.getTraceback()).rstrip("\n")
        except Exception as error:
            return f"(no traceback: {_describe(error)})"
    if len(text) <= FAILURE_LIMIT:
        return text
    half = FAILURE_LIMIT // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters cut)\n{text[-half:]}"


def fields_of(event: LogEvent) -> Iterator[tuple[str, SimpleValue]]:
    """The event's own fields that are text, numbers, booleans or None.

    Everything else is left out: the ``repr`` of an object, or of bytes, could show a payload or a secret.
    A field named like one of our own keys gets a ``_`` after its name.
    """
    legacy = "log_text" in event
    for key, value in event.items():
        if not isinstance(key, str) or key.startswith("log_") or (legacy and key in _LEGACY_KEYS):
            continue
        if value is None or isinstance(value, str | int | float):
            yield (key + "_" if key in _OWN_KEYS else key), _simple(value)
        elif hasattr(value, "log_fields"):  # a record that knows what of it may be shown
            for name, part in value.log_fields().items():
                yield (name + "_" if name in _OWN_KEYS else name), _simple(part)


def _simple(value: SimpleValue) -> SimpleValue:
    """The value as one of the plain types, in a form that JSON can carry."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return cut(str.__str__(value), FIELD_LIMIT)
    if isinstance(value, int):
        # Python refuses to write an int of more than 4,300 digits in decimal; most readers stop at 64 bits.
        return int(value) if value.bit_length() <= 64 else cut(hex(value), FIELD_LIMIT)
    number = float(value)
    return number if math.isfinite(number) else repr(number)


class TextRenderer:
    """Writes ``2026-11-23T05:10:02.123Z info  wsdaemon.edge  listening on tcp:8080``, with a traceback indented beneath.

    The lines of a worker have its number behind the namespace: ``wsdaemon.edge worker=2``.
    """

    def __init__(self, shape: TextShape, worker: int | None = None) -> None:
        self._shape = shape
        self._sources: dict[tuple[Any, str], str] = {}
        self._worker = "" if worker is None else f" worker={worker}"

    def __call__(self, event: LogEvent) -> bytes | None:
        message = message_of(event)
        failure = failure_of(event)
        if not message and failure is None:
            return None
        level = level_of(event)
        source = self._source(level, namespace_of(event))
        margin = ""
        if self._shape is TextShape.PREFIXED:
            margin = f"<{PRIORITIES[level]}>"
            line = f"{margin}{source}: {printable(message)}\n"
        else:
            line = f"{time_of(event)} {source}  {printable(message)}\n"
        if failure is not None:
            line += "".join(f"{margin}    {printable(part)}\n" for part in failure.split("\n"))
        return line.encode("utf-8")

    def _source(self, level: Any, namespace: str) -> str:
        """The part of a line that tells level and namespace. Most lines of a busy daemon have the same ones."""
        known = self._sources.get((level, namespace))
        if known is not None:
            return known
        source = printable(namespace) + self._worker
        if self._shape is not TextShape.PREFIXED:
            name = f"{level.name:<5}"
            if self._shape is TextShape.COLOURED:
                name = f"{_COLOURS[level]}{name}{_COLOUR_END}"
            source = f"{name} {source}"
        if len(self._sources) < SOURCES_REMEMBERED:
            self._sources[level, namespace] = source
        return source


class JsonRenderer:
    """Writes one JSON object a line: time, level, namespace, message, the event's simple fields, and ``failure`` as text.

    With ``prefixed`` the line begins with the syslog priority as ``<N>``. ``worker`` is a field of each line of that worker.
    """

    def __init__(self, prefixed: bool = False, worker: int | None = None) -> None:
        self._prefixed = prefixed
        self._worker: dict[str, SimpleValue] = {} if worker is None else {"worker": worker}

    def __call__(self, event: LogEvent) -> bytes | None:
        message = message_of(event)
        failure = failure_of(event)
        if not message and failure is None:
            return None
        entry: dict[str, SimpleValue] = {
            "time": time_of(event),
            "level": level_of(event).name,
            "namespace": namespace_of(event),
            "message": message,
        }
        entry.update(fields_of(event))
        entry.update(self._worker)
        if failure is not None:
            entry["failure"] = failure
        margin = f"<{PRIORITIES[level_of(event)]}>" if self._prefixed else ""
        return f"{margin}{json.dumps(entry, ensure_ascii=True, allow_nan=False)}\n".encode("ascii")
