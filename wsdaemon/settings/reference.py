"""INI text made from the settings' own fields: the reference with every key, and the text of given settings.

`python -m wsdaemon.settings.reference > etc/ws.reference.ini` writes the reference; a test fails if it is out of date.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from wsdaemon.settings.admin import AdminSettings, TokenSettings
from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.auth import AUTH_KINDS, AuthSettings
from wsdaemon.settings.broker import BrokerSettings
from wsdaemon.settings.build import Apps
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.model import ListenerSettings, MountSettings, Settings, TlsSettings
from wsdaemon.settings.schema import Key, SectionSettings, keys_of

WIDTH = 110

_HEAD = """\
Every section and key of wsdaemon's INI file, with its default. Made from the settings themselves.

A line such as #key = value, without a blank after the #, shows a key's default; remove the # to change it. Comments (# or ;) need
lines of their own. Sizes are in bytes, or in KiB, MiB, GiB or TiB; durations are in ms, s, m, h or d. A % has no special meaning.
Unknown sections and keys are errors, and so are keys that are given twice."""


def reference_path() -> Path:
    """The file with the reference: `wsdaemon/data/etc/` of an installed package has it, or `etc/` of a clone."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "data" / "etc" / "ws.reference.ini"
    return installed if installed.exists() else package.parent / "etc" / "ws.reference.ini"


def reference(apps: Apps = APP_OPTIONS) -> str:
    """The reference INI: each key with its help, its form and its default, commented out. Only required keys are set."""
    lines = [*_head()]
    for header, settings_class in (("daemon", DaemonSettings), ("logging", LoggingSettings)):
        lines += ["", "", *_comment(_about(settings_class)), f"[{header}]"]
        lines += _documented(keys_of(settings_class).values())
    about = "[defaults]: the defaults of every mount. Each of these keys may also stand in a [mount:PATH]."
    lines += ["", "", *_comment(about), "[defaults]"]
    lines += _documented(key for key in keys_of(MountSettings).values() if key.inherited)
    shown: dict[str, str] = {}
    for app, options in apps.items():
        for key in keys_of(options).values():
            first = shown.setdefault(key.name, app)
            if first == app:
                lines += ["", *_comment(f"An option of the app {app}, for its mounts only."), *_key(key)]
            else:  # a key may stand in a section once
                lines += ["", *_comment(f"{key.name} is also an option of the app {app}. {key.help} Expected: {key.form.expected}.")]
    lines += ["", "", *_comment(_about(ListenerSettings)), "[listener:web]"]
    lines += _documented(keys_of(ListenerSettings).values())
    about = (
        "[mount:PATH]: a URL path, the app it leads to and the limits on it. A PATH such as /rooms/{name} has a parameter, which the app "
        "gets; the longest path that matches wins. Every key of [defaults] may stand here, and then applies to this mount only."
    )
    lines += ["", "", *_comment(about), "[mount:/echo]"]
    lines += _documented(key for key in keys_of(MountSettings).values() if not key.inherited)
    lines += ["", "", *_commented_out(AdminSettings, "[admin]")]
    lines += ["", "", *_commented_out(TokenSettings, "[token:my-token]")]
    lines += ["", "", *_commented_out(BrokerSettings, "[broker]")]
    lines += ["", "", *_commented_out(TlsSettings, "[tls:my-certificate]")]
    for auth_class in AUTH_KINDS.values():
        lines += ["", "", *_commented_out(auth_class, f"[auth:my-{auth_class.kind}]", f"kind = {auth_class.kind}")]
    return "\n".join(lines) + "\n"


def effective(settings: Settings) -> str:
    """The settings as an INI file with every key set; loaded again it gives equal settings. A secret appears as the name of its file only.

    An app that is a Python object is written as module:name; if that name does not lead to the object, the text does not load.
    """
    parts = [_section("daemon", settings.daemon), _section("logging", settings.logging)]
    parts += [_section(f"listener:{listener.name}", listener) for listener in settings.listeners]
    parts += [_section(f"mount:{mount.path}", mount, mount.options) for mount in settings.mounts]
    parts += [_section(f"auth:{way.name}", way) for way in settings.auths]
    parts += [_section(f"tls:{pair.name}", pair) for pair in settings.tls]
    parts += [] if settings.admin is None else [_section("admin", settings.admin)]
    parts += [_section(f"token:{token.name}", token) for token in settings.tokens]
    parts += [] if settings.broker is None else [_section("broker", settings.broker)]
    return "\n".join(parts)


def _section(name: str, *objects: SectionSettings | None) -> str:
    lines = [f"[{name}]"]
    lines += [f"kind = {one.kind}" for one in objects if isinstance(one, AuthSettings)]
    for one in objects:
        if one is not None:
            lines += [_assignment(key, getattr(one, key.name)) for key in keys_of(type(one)).values()]
    return "\n".join(lines) + "\n"


def _commented_out(settings_class: type[SectionSettings], *begins: str) -> Iterator[str]:
    """An example of a section that begins with these lines. Without the "# " at the start of each line it is a section like the others."""
    about = f"{_about(settings_class)} To use the section, remove the # and the blank after it from each line below."
    yield from _comment(about)
    keys = keys_of(settings_class).values()
    section = [*begins, *_documented(keys, WIDTH - 2)]
    yield from (f"# {line}".rstrip() for line in section)


def _about(settings_class: type[SectionSettings]) -> str:
    return inspect.cleandoc(settings_class.__doc__ or "").partition("\n\n")[0]


def _head() -> list[str]:
    first, _, rest = _HEAD.partition("\n\n")
    return [*_comment(first), "#", *_comment(rest)]


def _comment(text: str, width: int = WIDTH) -> Iterator[str]:
    yield from (f"# {line}" for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False))


def _assignment(key: Key, value: object) -> str:
    return f"{key.name} = {key.form.show(value)}".rstrip()


def _documented(keys: Iterable[Key], width: int = WIDTH) -> list[str]:
    return [line for key in keys for line in ("", *_key(key, width))]


def _key(key: Key, width: int = WIDTH) -> Iterator[str]:
    yield from _comment(key.help, width)
    yield from _comment(f"Expected: {key.form.expected}.", width)
    if key.required:
        yield f"{key.name} = {key.example}"
    else:
        yield "#" + _assignment(key, key.default)


def main() -> None:
    """Write the reference to standard output."""
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()
