"""From raw sections to `Settings`, or to every problem at once. The INI reader and `WebSocketServer` both use this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TypeVar

from wsdaemon.settings.admin import AdminSettings, TokenSettings
from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.auth import AUTH_KINDS, KIND_KEY, AuthSettings, kind_of
from wsdaemon.settings.broker import BrokerSettings
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.hints import NAMED, SINGLE, app_hint, comment_hint, first_on, home_of, name_problem, shown
from wsdaemon.settings.model import ListenerSettings, MountSettings, Settings, TlsSettings
from wsdaemon.settings.paths import path_shape
from wsdaemon.settings.problems import BadValue, Problem, SettingsError, did_you_mean
from wsdaemon.settings.schema import Key, SectionSettings, keys_of
from wsdaemon.settings.values import TcpAddress, is_reference
from wsdaemon.settings.warnings import warnings_of

S = TypeVar("S", bound=SectionSettings)

Apps = Mapping[str, type[SectionSettings]]
Unknown = Mapping[str, str]
"""Messages for keys that are known elsewhere, by key."""

UNREADABLE = object()
"""The value of an entry in a line that is reported already: its key is not missing, but there is nothing to convert."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as it was given: text from the INI file, or any Python value. `line` is None if there is no file."""

    key: str
    value: object
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """One section as it was given, such as `daemon` or `mount:/chat`, with the line of its header."""

    name: str
    entries: tuple[Entry, ...]
    line: int | None = None

    @property
    def kind(self) -> str:
        """The part of the name before the first colon."""
        return self.name.partition(":")[0]

    @property
    def argument(self) -> str:
        """The part of the name after the first colon."""
        return self.name.partition(":")[2]

    def find(self, key: str) -> Entry | None:
        """The first entry with this key."""
        return next((entry for entry in self.entries if entry.key == key), None)


def section(section_name: str, /, **values: object) -> Section:
    """A section out of Python values: `section("mount:/echo", app=echo, max_message="64KiB")`. None leaves the key out."""
    return Section(section_name, tuple(Entry(key, value) for key, value in values.items() if value is not None))


def build(sections: Iterable[Section], source: str, directory: Path | None = None, apps: Apps = APP_OPTIONS) -> Settings:
    """Check sections and make settings of them.

    Each problem begins with `source`. Relative paths start from `directory`, the working directory when it is None.
    Values may be text in the INI's forms or Python values: int, float, bool, timedelta, Path, list, tuple, dict, address
    objects; an app may be the object itself. Raises SettingsError with all the problems.
    """
    problems: list[Problem] = []
    settings = check(list(sections), source, Path.cwd() if directory is None else directory, problems, apps)
    if problems:
        raise SettingsError(problems)
    return settings


def check(sections: Sequence[Section], source: str, directory: Path, problems: list[Problem], apps: Apps = APP_OPTIONS) -> Settings:
    """Like `build`, but add the problems to those that the reader found before.

    If there are any, the settings are not to be served, but what they name can be checked: they lack the sections that cannot be
    used, and have defaults in the place of values that cannot.
    """
    return _Check(source, directory.absolute(), problems, apps).settings(sections)


class _Check:
    """One pass over the sections of one source. It continues after each problem, so that it finds all of them."""

    def __init__(self, source: str, directory: Path, problems: list[Problem], apps: Apps) -> None:
        self.source = source
        self.directory = directory
        self.problems = problems
        self.apps = apps
        self.mount_keys = keys_of(MountSettings)
        self.app_keys = {name: keys_of(options) for name, options in apps.items()}

    def settings(self, sections: Sequence[Section]) -> Settings:
        """All sections as settings; None if there is any problem, an earlier one included."""
        known = self.check_names(sections)
        of_kind = {kind: [one for one in known if one.kind == kind] for kind in (*SINGLE, *NAMED)}
        # The section that seems to be missing may be one that could not be read.
        if not self.problems:
            for kind, form, example in (("listener", "[listener:NAME]", "address = tcp:8080"), ("mount", "[mount:PATH]", "app = echo")):
                if not of_kind[kind]:
                    self.report(None, f"no {form} section; expected at least one, with a line such as {example}")
        daemon = [self.make(DaemonSettings, one) for one in of_kind["daemon"] or [section("daemon")]]
        logging = [self.make(LoggingSettings, one) for one in of_kind["logging"] or [section("logging")]]
        values, options = self.defaults(of_kind["defaults"])
        mounts = [self.mount(one, values, options) for one in of_kind["mount"]]
        self.check_shapes(of_kind["mount"])
        auths = [self.auth(one) for one in of_kind["auth"]]
        self.check_references(self.mount_keys["auth"], [*of_kind["defaults"], *of_kind["mount"]], of_kind["auth"])
        tls = [self.make(TlsSettings, one, {"name": one.argument}) for one in of_kind["tls"]]
        listeners = [self.make(ListenerSettings, one, {"name": one.argument}) for one in of_kind["listener"]]
        for key, kind in (("mounts", "mount"), ("tls", "tls")):
            self.check_references(keys_of(ListenerSettings)[key], of_kind["listener"], of_kind[kind])
        admin = [self.make(AdminSettings, one) for one in of_kind["admin"]]
        self.check_references(keys_of(AdminSettings)["tls"], of_kind["admin"], of_kind["tls"])
        tokens = [self.make(TokenSettings, one, {"name": one.argument}) for one in of_kind["token"]]
        broker = [self.make(BrokerSettings, one) for one in of_kind["broker"]]
        self.check_addresses([*of_kind["listener"], *of_kind["admin"]], [*listeners, *admin])
        complete = tuple(one for one in listeners if one is not None)
        paths = tuple(one for one in mounts if one is not None)
        ways = tuple(one for one in auths if one is not None)
        pairs = tuple(one for one in tls if one is not None)
        shorter = tuple(one for one in tokens if one is not None)
        of_admin, of_broker = admin[0] if admin else None, broker[0] if broker else None
        return Settings(
            daemon=daemon[0] or DaemonSettings(), logging=logging[0] or LoggingSettings(), listeners=complete, mounts=paths, auths=ways,
            tls=pairs, admin=of_admin, tokens=shorter, broker=of_broker, source=self.source,
            warnings=warnings_of(complete, paths, ways, pairs, of_admin, shorter), lines=_lines(known),
        )  # fmt: skip

    def report(self, where: Section | None, message: str, entry: Entry | None = None, *, value: str | None = None) -> None:
        """Add a problem: on the line of the entry, else on the line of the section, else for the source as a whole."""
        line = entry.line if entry is not None else where.line if where is not None else None
        name = where.name if where is not None else None
        self.problems.append(Problem(self.source, line, name, entry.key if entry is not None else None, value, message))

    def check_names(self, sections: Sequence[Section]) -> list[Section]:
        """The sections with a good name; problems for the others, and for those that come twice."""
        good: list[Section] = []
        first: dict[str, Section] = {}
        for one in sections:
            message = name_problem(one.name)
            if message is not None:
                self.report(one, message)
                continue
            if one.name in first:
                self.report(one, f"section given twice{first_on(first[one.name].line)}")
            first.setdefault(one.name, one)
            good.append(one)
        return good

    def convert(self, where: Section, entry: Entry, key: Key) -> object:
        """The entry's value, or MISSING after a problem."""
        if entry.value is UNREADABLE:
            return MISSING
        try:
            return key.form.locate(key.form.convert(entry.value), self.directory)
        except BadValue as error:
            self.report(where, f"{error}{comment_hint(entry.value, key)}", entry, value=shown(entry.value, key))
            return MISSING

    def entries(self, where: Section, known: Mapping[str, object], elsewhere: Unknown) -> list[Entry]:
        """The entries with a known key; problems for the others, and for keys that come twice."""
        good: dict[str, Entry] = {}
        for entry in where.entries:
            if entry.value is UNREADABLE and (entry.key in good or entry.key not in known):
                continue
            if entry.key in good:
                self.report(where, f"key given twice{first_on(good[entry.key].line)}", entry)
            elif entry.key in known:
                good[entry.key] = entry
            elif entry.key in elsewhere:
                self.report(where, elsewhere[entry.key], entry)
            else:
                hint = home_of(entry.key, self.app_keys) or did_you_mean(entry.key, known) or f"; the keys here are {', '.join(known)}"
                self.report(where, f"unknown key{hint}", entry)
        return list(good.values())

    def values(self, where: Section, keys: Mapping[str, Key]) -> dict[str, object]:
        """The converted values of a section; MISSING for those that have a problem."""
        return {entry.key: self.convert(where, entry, keys[entry.key]) for entry in self.entries(where, keys, {})}

    def make(self, settings_class: type[S], where: Section, extra: Mapping[str, object] | None = None) -> S | None:
        """A section of one class alone: [daemon], [logging], [listener:NAME]. None when a required key fails."""
        values = self.values(where, keys_of(settings_class))
        return self.finish(settings_class, where, {**values, **(extra or {})})

    def finish(self, settings_class: type[S], where: Section, values: Mapping[str, object]) -> S | None:
        """The object, None when a required key fails. Other values that failed are replaced by their defaults, which are never used."""
        keys = keys_of(settings_class)
        for key in keys.values():
            if key.required and key.name not in values:
                self.report(where, f"missing key; expected {key.form.expected}", Entry(key.name, None, where.line))
        failed = {name for name, value in values.items() if value is MISSING}
        if any(key.required and (key.name in failed or key.name not in values) for key in keys.values()):
            return None
        made = settings_class(**{name: value for name, value in values.items() if name not in failed})
        for names, message in made.conflicts():
            entry = where.find(names[0])
            if failed.isdisjoint(names):
                value = None if entry is None else shown(entry.value, keys[names[0]])
                self.report(where, message, entry or Entry(names[0], None, where.line), value=value)
        return made

    def defaults(self, sections: Sequence[Section]) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
        """The defaults of mounts: values of the mounts' own keys, and values of options by app."""
        own = {name: key for name, key in self.mount_keys.items() if key.inherited}
        elsewhere = {name: "not allowed in [defaults]; expected it in each [mount:PATH]" for name in self.mount_keys if name not in own}
        values: dict[str, object] = {}
        options: dict[str, dict[str, object]] = {name: {} for name in self.apps}
        for where in sections:
            known = {**own, **{name: key for keys in self.app_keys.values() for name, key in keys.items()}}
            for entry in self.entries(where, known, elsewhere):
                if entry.key in own:
                    values[entry.key] = self.convert(where, entry, own[entry.key])
                # The same key may be an option of several apps; each app converts it by its own form, until one refuses it.
                for app, keys in self.app_keys.items():
                    if entry.key in keys:
                        options[app][entry.key] = self.convert(where, entry, keys[entry.key])
                        if options[app][entry.key] is MISSING:
                            break
        return values, options

    def mount(
        self, where: Section, defaults: Mapping[str, object], default_options: Mapping[str, Mapping[str, object]]
    ) -> MountSettings | None:
        """One [mount:PATH], on top of the values in [defaults]. None if a required key fails."""
        app = self.app(where)
        options_class = self.apps.get(app) if isinstance(app, str) else None
        option_keys = self.app_keys[app] if isinstance(app, str) and options_class is not None else {}
        other_options = {name: owner for owner, keys in self.app_keys.items() for name in keys if name not in option_keys}
        named = app if isinstance(app, str) else "your own code"
        elsewhere = {name: f"option of the app {owner}; the app here is {named}" for name, owner in other_options.items()}
        known: dict[str, Key] = {**self.mount_keys, **option_keys}
        if app is MISSING:
            # Without a known app it is not known which options are right.
            elsewhere = {}
            known = {**{name: self.app_keys[owner][name] for name, owner in other_options.items()}, **known}
        entries = self.entries(where, known, elsewhere)
        values = {entry.key: self.convert(where, entry, known[entry.key]) for entry in entries if entry.key != "app"}
        options = None
        if isinstance(app, str) and options_class is not None:
            own = {key: values.pop(key) for key in option_keys if key in values}
            options = self.finish(options_class, where, {**default_options[app], **own})
        if where.find("app") is not None:
            values["app"] = app
        kept = {key: value for key, value in values.items() if key in self.mount_keys}
        return self.finish(MountSettings, where, {**defaults, **kept, "path": where.argument, "options": options})

    def auth(self, where: Section) -> AuthSettings | None:
        """One [auth:NAME], whose `kind` decides which keys it has. None if that or a required key fails."""
        entry = where.find("kind")
        if entry is None:
            self.report(where, f"missing key; expected {KIND_KEY.form.expected}", Entry("kind", None, where.line))
            return None
        if entry.value is UNREADABLE:
            return None
        try:
            settings_class = kind_of(entry.value)
        except BadValue as error:
            self.report(where, str(error), entry, value=str(entry.value))
            return None
        keys = keys_of(settings_class)
        others = {
            key: f"key of the kind {other.kind}; the kind here is {settings_class.kind}"
            for other in AUTH_KINDS.values()
            for key in keys_of(other)
        }
        entries = [one for one in self.entries(where, {"kind": KIND_KEY, **keys}, others) if one.key != "kind"]
        values = {one.key: self.convert(where, one, keys[one.key]) for one in entries}
        return self.finish(settings_class, where, {**values, "name": where.argument})

    def app(self, where: Section) -> object:
        """The app of a mount; MISSING if there is none, or after a problem. Nothing is imported here."""
        entry = where.find("app")
        if entry is None or entry.value is UNREADABLE:
            return MISSING
        try:
            value: object = self.mount_keys["app"].form.convert(entry.value)
        except BadValue:
            value = MISSING
        if value is not MISSING and (not isinstance(value, str) or value in self.apps or is_reference(value)):
            return value
        hint = app_hint(entry.value, self.apps) if isinstance(entry.value, str) else ""
        message = f"expected a built-in app ({', '.join(self.apps)}), module:function or module:Class{hint}"
        self.report(where, message, entry, value=str(entry.value))
        return MISSING

    def check_shapes(self, mounts: Sequence[Section]) -> None:
        """Two patterns that match the same paths, such as /a/{x} and /a/{y}, leave no way to choose."""
        first: dict[str, Section] = {}
        for one in mounts:
            other = first.setdefault(path_shape(one.argument), one)
            if other.name != one.name:
                self.report(one, f"same paths as [{other.name}]{first_on(other.line)}; expected one mount for them")

    def check_references(self, key: Key, sections: Sequence[Section], named: Sequence[Section]) -> None:
        """Report references to sections that do not exist. `named` are the sections that do."""
        names = [one.argument for one in named]
        for where in sections:
            entry = where.find(key.name)
            try:
                wanted = () if entry is None else key.form.convert(entry.value)
            except BadValue:
                continue
            for name in wanted:
                if name not in names:
                    kind = {"mounts": "mount"}.get(key.name, key.name)
                    self.report(where, f"no [{kind}:{name}] section{did_you_mean(name, names)}", entry, value=name)

    def check_addresses(self, sections: Sequence[Section], listeners: Sequence[ListenerSettings | AdminSettings | None]) -> None:
        """Report two listeners with the same address. TCP port 0 is a new port each time."""
        first: dict[str, Section] = {}
        for where, listener in zip(sections, listeners, strict=True):
            if listener is None or (isinstance(listener.address, TcpAddress) and listener.address.port == 0):
                continue
            other = first.setdefault(str(listener.address), where)
            if other.name != where.name:
                message = f"same address as [{other.name}]{first_on(other.line)}; expected one listener for it"
                self.report(where, message, where.find("address"), value=str(listener.address))


def _lines(sections: Iterable[Section]) -> dict[tuple[str, str | None], int]:
    """Where each section and each key stands; empty for settings made in Python."""
    lines: dict[tuple[str, str | None], int] = {}
    for one in sections:
        if one.line is not None:
            lines.setdefault((one.name, None), one.line)
        for entry in one.entries:
            if entry.line is not None:
                lines.setdefault((one.name, entry.key), entry.line)
    return lines
