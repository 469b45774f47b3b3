"""The difference between the settings in force and new ones, key by key, and which of it a reload can apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from wsdaemon.settings.model import MountSettings, Settings
from wsdaemon.settings.schema import SectionSettings, keys_of

RESTART: Final = "needs a restart"

RESTARTED_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "daemon": frozenset({"workers", "control", "python_path", "accelerator", "stall_warning"}),
    "logging": frozenset({"format", "destination"}),
    "admin": frozenset({"address", "tls_certificate", "tls_key", "tls", "client_ca", "client_certificate"}),
}
"""Keys that the process uses from its start to its end."""

RESTARTED_SECTIONS: Final = frozenset({"broker"})
"""Sections whose keys are all of that kind."""

RESTARTED_WHOLE: Final = frozenset({"admin"})
"""Sections that appear and go with a restart alone, because they open sockets."""

OF_EACH_CONNECTION: Final = frozenset(
    {
        "subprotocols", "origins", "auth", "expiry_warning", "max_message", "max_fragments", "max_connections",
        "max_connections_per_address", "max_connections_per_user", "connections_per_second_per_address", "max_handshakes",
        "ping_interval", "ping_timeout", "close_timeout", "send_backlog_age", "slow_client_code", "messages_per_second",
        "bytes_per_second", "over_rate", "control_frames_per_second", "idle_timeout", "lifetime", "on_disconnect", "disconnect_grace",
        "compression", "compression_level", "compression_window_bits", "compression_memory_level", "compression_threshold",
        "compression_server_context_takeover", "compression_client_context_takeover",
    }
)  # fmt: skip
"""Keys of a mount that are the connection's alone: an app that is not told of them can go on when they change."""

KEEPING_APPS: Final = frozenset({"echo", "ticker", "rooms"})
"""Built-in apps that are told of no key in OF_EACH_CONNECTION."""


MAY_HOLD_SECRETS = frozenset({"command", "environment", "url", "target"})
"""Keys whose values may hold a password. The difference goes to the log and to terminals, so that it says only that they have changed."""


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One key that differs, or a section that is new or gone."""

    section: str
    key: str | None
    text: str
    """The old value and the new one; of a secret only that it has changed."""
    applied: bool
    """Whether a reload applies it."""

    def __str__(self) -> str:
        key = "" if self.key is None else f" {self.key}"
        return f"[{self.section}]{key}: {self.text}" + ("" if self.applied else f" ({RESTART})")


def difference(old: Settings, new: Settings) -> list[SettingChange]:
    """Every change, in the order of the sections."""
    found: list[SettingChange] = []
    before, after = dict(_sections(old)), dict(_sections(new))
    same_pages, kept = (old.admin is None) == (new.admin is None), _kept_tokens(old, new)

    def is_applied(name: str, key: str | None) -> bool:
        if (name, key) == ("admin", "token_file"):
            return "token_file" not in kept
        return _is_applied(name, key) and ((same_pages and "tokens" not in kept) or not name.startswith("token:"))

    for name, section in after.items():
        earlier = before.get(name)
        if earlier is None:
            found.append(SettingChange(name, None, "new", is_applied(name, None)))
        elif type(earlier) is not type(section):
            found.append(SettingChange(name, None, "of another kind", is_applied(name, None)))
        else:
            found += list(_keys(name, earlier, section, is_applied))
    found += [SettingChange(name, None, "removed", is_applied(name, None)) for name in before if name not in after]
    return found


def in_force(old: Settings, new: Settings) -> Settings:
    """The settings that a reload leads to: the new ones, with the old values of the keys that need a restart."""
    kept: dict[str, Any] = {}
    for name, keys in RESTARTED_KEYS.items():
        before, after = getattr(old, name), getattr(new, name)
        if before is None or after is None:
            kept |= {name: before, "tokens": old.tokens}
        else:
            also = _kept_tokens(old, new) & {"token_file"} if name == "admin" else frozenset()
            kept[name] = replace(after, **{key: getattr(before, key) for key in keys | also})
    if "tokens" in _kept_tokens(old, new):
        kept["tokens"] = old.tokens
    named = {each.name for each in new.tls}
    of_admin = () if old.admin is None else [each for each in old.tls if each.name in old.admin.tls and each.name not in named]
    return replace(new, **kept, broker=old.broker, tls=(*new.tls, *of_admin))


def _kept_tokens(old: Settings, new: Settings) -> frozenset[str]:
    """The keys whose old values the admin pages keep with their old address: `token_file`, and `tokens`, the sections [token:NAME].

    At the new address, such as a unix socket of the operator's alone, the pages may do without a token, but not at the old one.
    """
    before, after = old.admin, new.admin
    if before is None or after is None or before.address == after.address or after.token_file is not None:
        return frozenset()
    if before.token_file is not None:
        return frozenset({"token_file"})
    return frozenset() if new.tokens else frozenset({"tokens"})


def keeps_app(old: MountSettings, new: MountSettings) -> bool:
    """Whether the app of a mount, with its rooms and its state, goes on when these settings change."""
    if old == new:
        return True
    if isinstance(new.app, str) and ":" not in new.app and new.app not in KEEPING_APPS:
        return False
    return old.app == new.app and all(
        getattr(old, name) == getattr(new, name) for name in (*keys_of(type(new)), "options") if name not in OF_EACH_CONNECTION
    )


def _is_applied(section: str, key: str | None) -> bool:
    if section in RESTARTED_SECTIONS or (key is None and section in RESTARTED_WHOLE):
        return False
    return key is None or key not in RESTARTED_KEYS.get(section, frozenset())


def _keys(
    name: str, old: SectionSettings, new: SectionSettings, is_applied: Callable[[str, str | None], bool]
) -> Iterator[SettingChange]:  # fmt: skip
    for key in keys_of(type(new)).values():
        before, after = getattr(old, key.name), getattr(new, key.name)
        if before != after:
            shown = f"{_shown(key.form, before)} > {_shown(key.form, after)}"
            hidden = key.name in MAY_HOLD_SECRETS or _shown(key.form, before) == _shown(key.form, after)
            yield SettingChange(name, key.name, "the content has changed" if hidden else shown, is_applied(name, key.name))
    before, after = getattr(old, "options", None), getattr(new, "options", None)
    if isinstance(before, SectionSettings) and isinstance(after, SectionSettings) and type(before) is type(after):
        yield from _keys(name, before, after, is_applied)


def _shown(form: Any, value: Any) -> str:
    return str(form.show(value)) or "(empty)"


def _sections(settings: Settings) -> Iterator[tuple[str, SectionSettings]]:
    """Each section with its name in the INI file."""
    for name in ("daemon", "logging", "admin", "broker"):
        section = getattr(settings, name)
        if section is not None:
            yield name, section
    for kind, sections, key in (
        ("listener", settings.listeners, "name"), ("mount", settings.mounts, "path"), ("auth", settings.auths, "name"),
        ("tls", settings.tls, "name"), ("token", settings.tokens, "name"),
    ):  # fmt: skip
        for each in sections:
            yield f"{kind}:{getattr(each, key)}", each
