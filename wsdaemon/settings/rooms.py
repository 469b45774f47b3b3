"""The options of the app rooms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import Count, Duration, PositiveCount, PositiveDuration, PositiveSize, ReferenceForm, app_text


@dataclass(frozen=True, slots=True)
class RegularExpressionForm(Form[re.Pattern[str]]):
    """A regular expression of Python's. In Python also a compiled one."""

    @property
    def expected(self) -> str:
        return "a regular expression such as [a-z0-9.-]+"

    def parse(self, text: str) -> re.Pattern[str]:
        try:
            if text:
                return re.compile(text)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadValue(f"expected {self.expected}; {error}") from None
        raise self.refusal()

    def accept(self, value: object) -> re.Pattern[str]:
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            return value
        raise self.refusal()

    def show(self, value: re.Pattern[str]) -> str:
        return value.pattern


@dataclass(frozen=True, slots=True)
class HooksForm(ReferenceForm):
    """The user's own class or object: `module:Class`, or nothing. In Python also the class or object itself."""

    def accept(self, value: object) -> object:
        return value

    def show(self, value: object) -> str:
        return hooks_text(value)


def hooks_text(value: object) -> str:
    """A policy as the INI file writes it: the given text, or the module and name of a Python object."""
    return "" if value is None else app_text(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsOptions(SectionSettings):
    """The limits of a mount's rooms, and how much history they keep."""

    publish: Literal["clients", "server", "none"] = field(
        default="clients",
        metadata=explain(
            "Which publishers the rooms accept. clients: every client of the mount. server: only the program that runs the daemon. "
            "none: neither."
        ),
    )
    echo_to_sender: bool = field(default=False, metadata=explain("Send a client its own messages too."))
    policy: Annotated[object, HooksForm()] = field(
        default=None,
        metadata=explain(
            "Your own class with the methods enter, enter_pattern or publish. They decide which clients may enter a room and which "
            "messages may be published. Empty: every client of the mount may do all that publish allows."
        ),
    )
    hook_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long a method of the policy may take. After that the request is refused.")
    )
    room_names: Annotated[re.Pattern[str], RegularExpressionForm()] = field(
        default=re.compile(r"[^\x00-\x20\x7f]+"),
        metadata=explain(
            "A regular expression that the whole name of a room must match. A name has at most 256 bytes, and never a * or >."
        ),
    )
    max_rooms: PositiveCount = field(
        default=10_000,
        metadata=explain(
            "How many rooms the mount may have. A new room replaces the empty room that has been unused the longest; if none is "
            "empty, the new room is refused. Holds for all processes together."
        ),
    )
    memory: PositiveSize = field(
        default=256 * 1024 * 1024,
        metadata=explain(
            "How much memory the mount's rooms may hold. If it is short, empty rooms go first, then the oldest messages of histories, then "
            "the oldest idempotency keys; then the error is memory. One address or user may have an eighth of it, and of max_rooms. With "
            "several processes each counts its own connections, subscriptions and waiting messages, and the hub the rooms and histories."
        ),
    )
    max_members: PositiveCount = field(default=10_000, metadata=explain("How many members a room may have, over all processes."))
    max_subscriptions: PositiveCount = field(default=100, metadata=explain("How many rooms one connection may be in."))
    max_patterns: Count = field(default=10, metadata=explain("How many patterns, such as prices.*, one connection may subscribe to."))
    room_messages_per_second: Count = field(
        default=0,
        metadata=explain(
            "How many messages per second a room takes from all processes together; bursts of up to two seconds' worth are allowed. 0: no "
            "limit."
        ),
    )
    requests_per_second: Count = field(
        default=50,
        metadata=explain(
            "How many requests per second a connection of the subprotocol may send; bursts of up to two seconds' worth are allowed. More "
            "are refused with the error rate_limited, and a connection that goes on is closed with 1008. 0: no limit."
        ),
    )
    history: Count = field(
        default=0,
        metadata=explain("How many messages a room keeps for clients that come back. 0: none, or up to 10000 if history_age is set."),
    )
    history_age: Duration = field(
        default=0.0, metadata=explain("How long a room keeps a message. 0: until history or history_bytes is full.")
    )
    history_bytes: PositiveSize = field(default=1024 * 1024, metadata=explain("How many bytes of messages a room keeps."))
    latest: bool = field(default=False, metadata=explain("Send each newcomer the room's last message at once."))
    room_idle: PositiveDuration = field(
        default=60.0, metadata=explain("How long an empty room is kept at least, so that clients that come back find their position.")
    )
