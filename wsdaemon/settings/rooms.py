"""The options of the app rooms."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import Refused
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import Count, Duration, PositiveCount, PositiveDuration, PositiveSize, app_text, is_reference


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
            raise Refused(f"expected {self.expected}; {error}") from None
        raise self.refusal()

    def accept(self, value: object) -> re.Pattern[str]:
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            return value
        raise self.refusal()

    def show(self, value: re.Pattern[str]) -> str:
        return value.pattern


@dataclass(frozen=True, slots=True)
class HooksForm(Form[object]):
    """The user's own class or object: `module:Class`, or nothing. In Python also the thing itself."""

    @property
    def expected(self) -> str:
        return "module:Class, or nothing"

    def parse(self, text: str) -> object:
        if text and not is_reference(text):
            raise self.refusal()
        return text or None

    def accept(self, value: object) -> object:
        return value

    def show(self, value: object) -> str:
        return hooks_text(value)


def hooks_text(value: object) -> str:
    """A policy as the INI file has it: the text it was given as, or where in its module a Python object is found."""
    return "" if value is None else app_text(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsOptions(SectionSettings):
    """What a mount's rooms allow and remember."""

    publish: Literal["clients", "server", "none"] = field(
        default="clients",
        metadata=explain("Who may publish. clients: whoever is let in. server: only the program that runs the daemon. none: nobody."),
    )
    echo_to_sender: bool = field(default=False, metadata=explain("Give a client its own messages, too."))
    policy: Annotated[object, HooksForm()] = field(
        default=None,
        metadata=explain(
            "Your own class with the methods enter, enter_pattern or publish, which decide who may enter a room, and who may publish "
            "what. Empty: whoever is let in may do everything that publish says."
        ),
    )
    hook_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long a method of the policy may take. One that takes longer refuses.")
    )
    room_names: Annotated[re.Pattern[str], RegularExpressionForm()] = field(
        default=re.compile(r"[^\x00-\x20\x7f]+"),
        metadata=explain("What the whole name of a room must match. A name is at most 256 bytes, and never has a * or > in it."),
    )
    max_rooms: PositiveCount = field(
        default=10_000, metadata=explain("How many rooms there may be. An empty one gives way to a new one, the least used first.")
    )
    max_members: PositiveCount = field(default=10_000, metadata=explain("How many members a room may have."))
    max_subscriptions: PositiveCount = field(default=100, metadata=explain("How many rooms one connection may be in."))
    max_patterns: Count = field(default=10, metadata=explain("To how many patterns, such as prices.*, one connection may subscribe."))
    room_messages_per_second: Count = field(
        default=0, metadata=explain("How many messages a room takes each second, for two seconds at once. 0: no limit.")
    )
    history: Count = field(
        default=0, metadata=explain("How many messages a room remembers for those who come back. 0: none, or with history_age up to 10000.")
    )
    history_age: Duration = field(default=0.0, metadata=explain("How long a room remembers a message. 0: as long as history has room."))
    history_bytes: PositiveSize = field(default=1024 * 1024, metadata=explain("How many bytes of messages a room remembers."))
    latest: bool = field(default=False, metadata=explain("Give newcomers the room's last message at once."))
    room_idle: PositiveDuration = field(
        default=60.0, metadata=explain("How long an empty room is kept at least, so that those who come back find their place.")
    )
