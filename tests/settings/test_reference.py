"""The INI text made from the settings: the reference is complete and fresh, and effective settings load again as they were."""

from __future__ import annotations

import re
import string
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.settings.access import AccessFormatForm
from wsdaemon.settings.addresses import AddressForm, SystemdAddress, TcpAddress, UnixAddress
from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.auth import AuthNameForm
from wsdaemon.settings.build import Section, build, section
from wsdaemon.settings.control import ControlForm
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.form import ChoiceForm, DurationForm, EnumForm, FlagForm, Form, ListForm, RangeForm, SizeForm, TokenForm, WholeForm
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import ListenerSettings, MountSettings, Settings
from wsdaemon.settings.network import NameForm, NetworkForm, ReachedHostForm
from wsdaemon.settings.origins import OriginForm
from wsdaemon.settings.paths import path_shape
from wsdaemon.settings.reference import effective, reference
from wsdaemon.settings.schema import SectionSettings, explain, keys_of
from wsdaemon.settings.values import (
    AppForm,
    CloseCodeForm,
    DestinationForm,
    FileForm,
    LevelsForm,
    MountPathForm,
    PathForm,
    ReferenceForm,
    Secret,
    SecretFile,
)
from wsdaemon.settings.workers import WorkersForm

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "etc" / "ws.reference.ini"


def load_text(text: str) -> Settings:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ws.ini"
        path.write_text(text, encoding="utf-8")
        return load(path)


def test_the_reference_is_fresh() -> None:
    message = "write it anew: python -m wsdaemon.settings.reference > etc/ws.reference.ini"
    assert REFERENCE.read_text(encoding="utf-8") == reference(), message


def test_the_reference_is_written_by_its_module() -> None:
    done = subprocess.run([sys.executable, "-m", "wsdaemon.settings.reference"], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == reference()
    assert done.stderr == b""


def test_the_reference_loads_as_it_stands_and_with_every_key_taken_in() -> None:
    uncommented = re.sub(r"(?m)^#(?=[a-z_]+ =)", "", reference())
    # An option of one app stands in [defaults], and every other key there is one of every mount.
    as_it_stands = load(REFERENCE)
    assert load_text(uncommented) == as_it_stands
    listener = ListenerSettings(name="web", address=TcpAddress(8080, "127.0.0.1"))
    mount = MountSettings(path="/echo", app="echo", options=APP_OPTIONS["echo"]())
    assert as_it_stands == Settings(daemon=DaemonSettings(), logging=LoggingSettings(), listeners=(listener,), mounts=(mount,), source="")


def test_the_reference_has_every_key_and_its_help() -> None:
    text = reference()
    words = re.sub(r"\n# ", " ", text)
    for settings_class in (DaemonSettings, LoggingSettings, ListenerSettings, MountSettings, *APP_OPTIONS.values()):
        for key in keys_of(settings_class).values():
            assert re.search(rf"(?m)^#?{key.name} =", text)
            assert key.help in words
    assert max(len(line) for line in text.splitlines()) <= 112


# Effective settings


simple_paths = st.lists(st.text(string.ascii_lowercase + "%[]$é", min_size=1, max_size=6), min_size=1, max_size=3).map("/".join)
interfaces = st.just("") | st.ip_addresses(v=4).map(str) | st.ip_addresses(v=6).map(str)
levels = st.sampled_from(["debug", "info", "warn", "error", "critical"])
names = st.from_regex(r"[a-z_]{1,6}(\.[a-z_]{1,6}){0,2}", fullmatch=True)

samples: dict[type[Form[Any]], list[str]] = {
    CloseCodeForm: ["1000", "1013", "3000", "4999"],
    ReferenceForm: ["", "my.module:Factory"],
    WorkersForm: ["", "auto", "1", "256"],
    AccessFormatForm: ["", "{id}", '{address} "{path}" {{{code}}} # ; = %'],
    RangeForm: ["1s-30s", "1500ms-1h", "5s-5s"],
    ControlForm: ["auto", "none", "unix:/run/ws.sock"],
    NetworkForm: ["unix", "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1"],
    ReachedHostForm: ["www.Example.com", "*.example.com", "bücher.example", "192.0.2.7", "::1", "[2001:DB8::7]"],
}


def values_of(form: Form[Any]) -> st.SearchStrategy[Any]:
    """Values of a form, as a user of the Python object might give them."""
    match form:
        case WholeForm():
            return st.integers(form.minimum, form.maximum)
        case SizeForm():
            return st.integers(form.minimum, form.maximum) | st.sampled_from(["1KiB", "64KiB", "1MiB"])
        case DurationForm():
            return st.floats(form.shortest, 365 * 86400.0) | st.sampled_from(["1500ms", "30s", "5m"]) | st.just(0 if form.zero else 1)
        case FlagForm():
            return st.booleans() | st.sampled_from(["on", "No", "TRUE"])
        case ChoiceForm() | EnumForm():
            return st.sampled_from(form.words)
        case FileForm() | PathForm():
            return simple_paths | simple_paths.map(Path)
        case DestinationForm():
            return st.sampled_from(form.words) | simple_paths.map(Path)
        case LevelsForm():
            return st.dictionaries(names, levels, max_size=3)
        case TokenForm():
            return st.text("abc!#$%&'*+-.^_`|~019", min_size=1, max_size=5)
        case AppForm():
            return st.sampled_from([*APP_OPTIONS, "my.code:Class", load])
        case AddressForm():
            return (
                st.builds(TcpAddress, st.integers(0, 65535), interfaces)
                | st.builds(UnixAddress, simple_paths.map("/{}".format), st.integers(0, 0o777))
                | st.builds(SystemdAddress, index=st.integers(0, 9))
            )
        case (
            AccessFormatForm() | CloseCodeForm() | ControlForm() | NetworkForm() | RangeForm() | ReachedHostForm() | ReferenceForm()
            | WorkersForm()
        ):  # fmt: skip
            return st.sampled_from(samples[type(form)])
        case ListForm():
            return lists_of(form.item)
    raise AssertionError(f"say here which values {form!r} has")


def lists_of(item: Form[Any]) -> st.SearchStrategy[Any]:
    """Lists of values of a form; empty where they would have to name other sections."""
    if isinstance(item, MountPathForm | AuthNameForm | NameForm):
        return st.just(())
    if isinstance(item, OriginForm):
        origins = st.sampled_from(["same-origin", "null", "https://a.example", "*.b.example:8443", "http://[::1]:*"])
        return st.lists(origins, min_size=1, max_size=3, unique=True) | st.just("any")
    return st.lists(values_of(item), max_size=3, unique_by=str)


@st.composite
def section_of(draw: st.DrawFn, name: str, settings_class: type) -> Section:
    keys = keys_of(settings_class).values()
    given_values = {key.name: draw(values_of(key.form)) for key in keys if key.required or draw(st.booleans())}
    if bool(given_values.get("tls_key")) != bool(given_values.get("tls_certificate")):
        given_values |= {"tls_key": "k", "tls_certificate": "c"}
    if given_values.get("tls_certificate") and given_values.get("client_ca"):
        given_values["client_certificate"] = "optional"
    else:
        given_values |= {key: None for key in ("client_ca", "client_certificate") if key in given_values}
    return section(name, **given_values)


NEEDED = {
    "process": {"command": "tail -f 'a b'"}, "asgi": {"application": "project.asgi:make( )"},
    "bridge": {"target": "tcp:[::1]:5900, unix:/run/x"}, "proxy": {"target": "ws://[::1]:9000/a, wss://h"},
}  # fmt: skip
"""Options without which an app is refused."""


@st.composite
def any_settings(draw: st.DrawFn) -> Settings:
    patterns = simple_paths.map("/{}".format) | simple_paths.map("/{}/{{name}}".format)
    paths = draw(
        st.lists(patterns.filter(lambda path: not re.search(r"%[0-9a-f]{2}|%é", path)), min_size=1, max_size=3, unique_by=path_shape)
    )
    listeners = [draw(section_of(f"listener:{number}", ListenerSettings)) for number in range(draw(st.integers(1, 2)))]
    distinct = {str(listener.find("address")): listener for listener in listeners}
    mounts = [with_needed(draw(section_of(f"mount:{path}", MountSettings))) for path in paths]
    sections = [draw(section_of("daemon", DaemonSettings)), draw(section_of("logging", LoggingSettings)), *mounts]
    served = section("listener:some", address="tcp:0", mounts=paths)
    return build([*sections, *distinct.values(), served], "test", Path("/srv/ws"))


def with_needed(mount: Section) -> Section:
    app = mount.find("app")
    return replace(mount, entries=(*mount.entries, *section("", **NEEDED.get(str(app and app.value), {})).entries))


def as_text_has_it(settings: Settings) -> Settings:
    """A live app comes back as the text that names it."""
    named = (replace(mount, app=f"{load.__module__}:load") if mount.app is load else mount for mount in settings.mounts)
    return replace(settings, mounts=tuple(named))


@given(any_settings())
def test_effective_settings_load_again_as_they_were(settings: Settings) -> None:
    again = load_text(effective(settings))
    assert again == as_text_has_it(settings)
    assert effective(again) == effective(settings)


def test_effective_settings_name_every_key() -> None:
    text = effective(load(ROOT / "etc" / "ws.ini"))
    assert "[mount:/ticker]\napp = ticker\n" in text
    assert "interval = 1s\n" in text
    assert "max_message = 64KiB\n" in text
    assert "address = tcp:8080:interface=127.0.0.1\n" in text
    assert "tls_key =\n" in text


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOptions(SectionSettings):
    """The options of an app that has a secret."""

    password_file: SecretFile = field(default=None, metadata=explain("The file with the password."))


def test_effective_settings_never_show_a_secret(tmp_path: Path) -> None:
    apps = {"locked": LockedOptions}
    (tmp_path / "password").write_text("hunter2")
    rooms = section("mount:/r", app="locked", password_file="password")
    settings = build([section("listener:a", address="tcp:0"), rooms], "test", tmp_path, apps)
    text = effective(settings)
    assert f"password_file = {tmp_path}/password\n" in text
    assert "hunter2" not in text + repr(settings)
    secret = getattr(settings.mounts[0].options, "password_file", None)
    assert isinstance(secret, Secret)
    (tmp_path / "ws.ini").write_text(text)
    assert load(tmp_path / "ws.ini", apps) == settings
