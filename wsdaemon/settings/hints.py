"""Guesses at the meaning of names, keys and values that cannot be used: the ends of messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wsdaemon.settings.admin import AdminSettings, TokenSettings
from wsdaemon.settings.auth import AUTH_KINDS
from wsdaemon.settings.broker import BrokerSettings
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.model import ListenerSettings, MountSettings, TlsSettings
from wsdaemon.settings.network import is_section_name
from wsdaemon.settings.paths import check_path
from wsdaemon.settings.problems import BadValue, closest, did_you_mean
from wsdaemon.settings.schema import Key, keys_of
from wsdaemon.settings.values import is_reference

COMMENT_HINT = "; a comment needs a line of its own"

SINGLE = ("daemon", "logging", "admin", "broker", "defaults")
NAMED = {"listener": "listener:NAME", "mount": "mount:PATH", "auth": "auth:NAME", "tls": "tls:NAME", "token": "token:NAME"}


def _without_comment(text: str) -> str:
    """`text` up to a blank and a # or ;, as comments look in other INI dialects."""
    return re.split(r"[ \t]+[#;]", text, maxsplit=1)[0]


def comment_hint(value: object, key: Key) -> str:
    """The end of a message about a refused value: whether it would be good without a comment behind it."""
    if not isinstance(value, str) or _without_comment(value) == value or key.form.hidden:
        return ""
    try:
        key.form.convert(_without_comment(value))
    except BadValue:
        return ""
    return COMMENT_HINT


def app_hint(text: str, apps: Iterable[str]) -> str:
    """The end of a message about an app: the text without a comment, a built-in app, or module:function for module.function."""
    plain = _without_comment(text)
    if plain != text:
        return f"; a comment needs a line of its own: did you mean {plain}?" if plain in apps or is_reference(plain) else COMMENT_HINT
    if is_reference(f"{text.removesuffix('.py')}:function") and text.endswith(".py"):
        return f"; did you mean {text.removesuffix('.py')}:function?"
    module, dot, function = text.rpartition(".")
    if dot and is_reference(f"{module}:{function}"):
        return f"; did you mean {module}:{function}?"
    return did_you_mean(text, apps)


def shown(value: object, key: Key) -> str:
    """The value for a message. A user and password in a URL are hidden."""
    return "(hidden)" if key.form.hidden else re.sub(r"://.*@", "://(hidden)@", str(value))


def first_on(line: int | None) -> str:
    """The end of a message about a name that stands twice: the line where it stands first."""
    return "" if line is None else f" (first on line {line})"


def name_problem(name: str) -> str | None:
    """The problem with the name of a section, such as `mount:/chat`; None if there is none."""
    kind, _, argument = name.partition(":")
    if name in SINGLE:
        return None
    if kind not in NAMED:
        near = closest(kind, (*SINGLE, *NAMED))
        meant = f"{near}:{argument or NAMED[near].partition(':')[2]}" if near in NAMED else near
        every = ", ".join(f"[{each}]" for each in (*SINGLE, *NAMED.values()))
        return "unknown section" + (f"; did you mean [{meant}]?" if near else f"; the sections are {every}")
    if kind in ("listener", "tls", "token", "auth") and not is_section_name(argument):
        return f"expected [{kind}:NAME], with a name of up to 64 letters, digits, _ . and -"
    if kind == "mount":
        try:
            check_path(argument)
        except BadValue as error:
            return str(error)
    return None


def home_of(key: str, app_keys: Mapping[str, Mapping[str, Key]]) -> str:
    """The end of a message for a key that belongs in another section."""
    homes = {
        "[daemon]": keys_of(DaemonSettings),
        "[logging]": keys_of(LoggingSettings),
        "[listener:NAME]": keys_of(ListenerSettings),
        "[tls:NAME]": keys_of(TlsSettings),
        "[admin]": keys_of(AdminSettings),
        "[token:NAME]": keys_of(TokenSettings),
        "[broker]": keys_of(BrokerSettings),
        "[auth:NAME]": {name: key for each in AUTH_KINDS.values() for name, key in keys_of(each).items()},
        "[defaults] or [mount:PATH]": {**keys_of(MountSettings), **{name: key for keys in app_keys.values() for name, key in keys.items()}},
    }
    found = [home for home, keys in homes.items() if key in keys]
    return f"; expected it in {' or '.join(found)}" if found else ""
