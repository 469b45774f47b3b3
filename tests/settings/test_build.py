"""Settings made of Python values: the same checks and the same messages as for the INI file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import FrozenInstanceError, dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from wsdaemon.settings.apps import APP_OPTIONS, TickerOptions
from wsdaemon.settings.build import Section, build, section
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.ini import SettingsError, load
from wsdaemon.settings.model import ListenerSettings, MountSettings
from wsdaemon.settings.schema import SectionSettings, explain, keys_of
from wsdaemon.settings.values import Count, Secret, SecretFile, Size, TcpAddress, UnixAddress

LISTENER = section("listener:main", address=TcpAddress(8080, "127.0.0.1"))


async def chat(connection: object) -> None:
    """Stands for a user's app."""


class ChatApp:
    """Stands for a user's app."""


def problems(*sections: Section) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        build(sections, "WebSocketServer")
    return [str(problem) for problem in caught.value.problems]


def test_python_values_and_ini_text_come_to_the_same(tmp_path: Path) -> None:
    native = build(
        [
            section("daemon", drain_timeout=timedelta(seconds=3), max_connections=5, python_path=[tmp_path / "lib"]),
            section("logging", levels={"myapp": "warn"}, destination=tmp_path / "ws.log", connections=False),
            section("listener:main", address=TcpAddress(8080, "::1"), tls_certificate=Path("c.pem"), tls_key="k.pem", mounts=("/echo",)),
            section("mount:/echo", app="ticker", max_message=65536, ping_interval=0, interval=0.5, subprotocols=["a", "b"]),
        ],
        "WebSocketServer",
        tmp_path,
    )
    (tmp_path / "ws.ini").write_text(
        "[daemon]\ndrain_timeout = 3s\nmax_connections = 5\npython_path = lib\n"
        "[logging]\nlevels = myapp=warn\ndestination = ./ws.log\nconnections = no\n"
        "[listener:main]\naddress = tcp:8080:interface=[::1]\ntls_certificate = c.pem\ntls_key = k.pem\nmounts = /echo\n"
        "[mount:/echo]\napp = ticker\nmax_message = 64KiB\nping_interval = 0\ninterval = 500ms\nsubprotocols = a, b\n"
    )
    assert native == load(tmp_path / "ws.ini")
    assert native.source == "WebSocketServer"


@pytest.mark.parametrize("app", [chat, ChatApp, ChatApp().__class__, lambda connection: None])
def test_a_live_app_is_passed_through(app: object) -> None:
    (mount,) = build([LISTENER, section("mount:/chat", app=app)], "WebSocketServer").mounts
    assert mount.app is app
    assert mount.options is None


def test_none_means_left_out() -> None:
    settings = build(
        [section("listener:main", address="tcp:0", tls_key=None, backlog=None), section("mount:/", app="echo", max_message=None)], "x"
    )
    assert settings.listeners == (ListenerSettings(name="main", address=TcpAddress(0)),)
    assert settings.mounts[0].max_message == 2**20
    assert settings.daemon == DaemonSettings()
    assert settings.logging == LoggingSettings()


def test_relative_paths_start_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = build([section("listener:main", address=UnixAddress("ws.sock")), section("mount:/", app="echo")], "x")
    assert settings.listeners[0].address == UnixAddress(str(tmp_path / "ws.sock"))


def test_the_same_messages_without_lines() -> None:
    tokens = "names made of letters, digits and !#$%&'*+-.^_`|~, with commas between them"
    assert problems(
        section("daemon", max_conections=5, drain_timeout=-1, max_connections=True),
        section("listener:main", address="tcp:80", tls_certificate="c"),
        section("mount:/echo", app=chat, max_message="1 potato", interval="1s"),
        section("mount:/echo", app=chat),
        section("mount:/five", app=5),
        section("mount:/nan", app="echo", ping_timeout=float("nan"), compression="maybe", subprotocols={"a"}),
    ) == [
        "WebSocketServer: [mount:/echo]: section given twice",
        "WebSocketServer: [daemon] max_conections: unknown key; did you mean max_connections?",
        "WebSocketServer: [daemon] drain_timeout = -1: expected a duration from 1ms to 365d, or 0",
        "WebSocketServer: [daemon] max_connections = True: expected a whole number from 1 to 1000000000",
        "WebSocketServer: [mount:/echo] interval: option of the app ticker; the app here is your own code",
        "WebSocketServer: [mount:/echo] max_message = 1 potato: expected a size such as 64KiB or 1MiB",
        f"WebSocketServer: [mount:/five] app = 5: expected a built-in app ({', '.join(APP_OPTIONS)}), module:function or module:Class",
        "WebSocketServer: [mount:/nan] ping_timeout = nan: expected a duration such as 500ms, 30s or 5m",
        "WebSocketServer: [mount:/nan] compression = maybe: expected on or off",
        f"WebSocketServer: [mount:/nan] subprotocols = {{'a'}}: expected {tokens}",
        "WebSocketServer: [listener:main] tls_certificate = c: expected tls_key too: TLS needs both",
    ]


def test_a_text_with_a_line_break_is_shown_on_one_line() -> None:
    (problem,) = problems(LISTENER, section("mount:/a", app="echo", subprotocols="a\nb"))
    assert problem == "WebSocketServer: [mount:/a] subprotocols = a\\nb: expected text without control characters"


def test_an_unknown_app_leaves_its_options_alone() -> None:
    (problem,) = problems(LISTENER, section("mount:/a", app="tiker", interval="1s"))
    assert problem.endswith("did you mean ticker?")


@pytest.mark.parametrize("app", ["", "Not An App", "a b:c", "a\nb"])
def test_a_bad_app_is_one_problem(app: str) -> None:
    (problem,) = problems(LISTENER, section("mount:/a", app=app, max_message="1MiB"))
    assert "[mount:/a] app = " in problem
    assert f"expected a built-in app ({', '.join(APP_OPTIONS)}), module:function or module:Class" in problem


def test_settings_are_frozen() -> None:
    settings = build([LISTENER, section("mount:/", app="echo")], "x")
    with pytest.raises(FrozenInstanceError):
        settings.daemon.max_connections = 5  # type: ignore[misc]
    for one in (settings.daemon, settings.logging, settings.listeners[0], settings.mounts[0]):
        assert not hasattr(one, "__dict__")


# Another app brings its options


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomsOptions(SectionSettings):
    """The options of an app for these tests."""

    capacity: Count = field(metadata=explain("How many members a room may have.", example="100"))
    history: Size = field(default=0, metadata=explain("How much a room remembers."))
    interval: Size = field(default=1, metadata=explain("The name of a ticker's option in another form."))
    password_file: SecretFile = field(default=None, metadata=explain("The file with the password."))

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """History needs members."""
        if self.history and not self.capacity:
            yield ("history", "capacity"), "expected a capacity above 0 beside it"


APPS = {**APP_OPTIONS, "rooms": RoomsOptions}


def build_rooms(*sections: Section, directory: Path | None = None) -> MountSettings:
    return build([LISTENER, *sections], "test", directory, APPS).mounts[0]


def rooms_problems(*sections: Section) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        build_rooms(*sections)
    return [str(problem) for problem in caught.value.problems]


def test_an_app_of_its_own_options(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    mount = build_rooms(
        section("defaults", capacity=7, history="64KiB"),
        section("mount:/r", app="rooms", history=5, password_file="password"),
        directory=tmp_path,
    )
    assert mount.options == RoomsOptions(capacity=7, history=5, password_file=Secret(tmp_path / "password", "hunter2"))
    assert "hunter2" not in repr(mount)


def test_required_options_and_conflicts_of_an_app() -> None:
    assert rooms_problems(section("mount:/r", app="rooms")) == [
        "test: [mount:/r] capacity: missing key; expected a whole number from 0 to 1000000000"
    ]
    assert rooms_problems(section("mount:/r", app="rooms", capacity=0, history=5)) == [
        "test: [mount:/r] history = 5: expected a capacity above 0 beside it"
    ]
    assert rooms_problems(section("defaults", history=5), section("mount:/r", app="rooms", capacity="x")) == [
        "test: [mount:/r] capacity = x: expected a whole number from 0 to 1000000000"
    ]


def test_one_option_of_two_apps_is_read_by_each_and_reported_once() -> None:
    ticker = section("mount:/t", app="ticker")
    with pytest.raises(SettingsError) as caught:
        build([LISTENER, section("defaults", interval="never"), ticker], "test", None, APPS)
    assert len(caught.value.problems) == 1
    assert build([LISTENER, ticker], "test", None, APPS).mounts[0].options == TickerOptions()


def test_a_secret_that_cannot_be_read_is_not_shown() -> None:
    (problem,) = rooms_problems(section("mount:/r", app="rooms", capacity=1, password_file="hunter2"))
    assert problem.startswith("test: [mount:/r] password_file = (hidden): expected the path of a file that holds the secret")
    assert "hunter2" not in problem


def test_no_option_hides_a_key_of_every_mount() -> None:
    for options in APP_OPTIONS.values():
        assert not set(keys_of(options)) & set(keys_of(MountSettings))


@pytest.mark.parametrize("settings_class", [DaemonSettings, LoggingSettings, ListenerSettings, MountSettings, *APP_OPTIONS.values()])
def test_every_key_has_help_and_a_default_that_reads_back(settings_class: type[SectionSettings]) -> None:
    for key in keys_of(settings_class).values():
        assert key.help.endswith(".")
        assert key.name == key.name.lower()
        if key.required:
            assert key.form.convert(key.example)
        else:
            assert key.form.convert(key.form.show(key.default)) == key.default
