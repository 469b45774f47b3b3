"""The forms of single values: what they take, what they say when they refuse, and that what they show reads back alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.settings.form import DurationForm, FlagForm, Form, SizeForm, WholeForm
from wsdaemon.settings.problems import Problem, Refused, printable
from wsdaemon.settings.values import (
    AddressText,
    App,
    Destination,
    Directories,
    File,
    Levels,
    MountPaths,
    PositiveSize,
    Secret,
    SecretFile,
    Tokens,
    UnixAddress,
    app_text,
    get_form,
    is_reference,
)

HERE = Path("/srv/ws")
SIZE = SizeForm()
DURATION = DurationForm()


def refused(form: Form[Any], value: object) -> str:
    with pytest.raises(Refused) as caught:
        form.locate(form.convert(value), HERE)
    return str(caught.value)


# Sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("64KiB", 65536), ("1MiB", 2**20), ("3GiB", 3 * 2**30), ("1TiB", 2**40), (" 64KiB\t", 65536), ("007", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE.convert(text) == size


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("64K", "64KiB"),
        ("64kb", "64KiB"),
        ("64 KiB", "64KiB"),
        ("1m", "1MiB"),
        ("1MB", "1MiB"),
        ("2gib", "2GiB"),
        ("10 bytes", "10"),
        ("10B", "10"),
    ],
)
def test_size_nearly_right_says_what_was_meant(text: str, meant: str) -> None:
    assert refused(SIZE, text) == f"expected a size such as 64KiB or 1MiB; did you mean {meant}?"


@pytest.mark.parametrize(
    "value", ["", "1 potato", "-1", "+1", "1.5MiB", "1e6", "0x10", "1_000", "nan", "inf", "٣", "9" * 5000, True, 1.5, None, [], b"1"]
)
def test_no_size(value: object) -> None:
    assert refused(SIZE, value) == "expected a size such as 64KiB or 1MiB"


@pytest.mark.parametrize("value", [-1, 2**40 + 1, 10**400, "2TiB", "999999999999999TiB"])
def test_size_out_of_range(value: object) -> None:
    assert refused(SIZE, value) == "expected a size from 0 to 1TiB"


def test_size_that_must_not_be_zero() -> None:
    assert refused(get_form(PositiveSize), "0KiB") == "expected a size from 1 to 1TiB"


@given(st.integers(0, 2**40))
def test_every_size_reads_back(size: int) -> None:
    assert SIZE.convert(SIZE.show(size)) == SIZE.convert(size) == size


def test_sizes_are_shown_in_the_largest_unit_that_divides_them() -> None:
    assert [SIZE.show(size) for size in (0, 1000, 1024, 1536, 2**20, 2**40)] == ["0", "1000", "1KiB", "1536", "1MiB", "1TiB"]


# Durations


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("0", 0.0),
        ("0s", 0.0),
        (30, 30.0),
        (0.25, 0.25),
        (0, 0.0),
        (timedelta(minutes=1), 60.0),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    converted = DURATION.convert(value)
    assert converted == seconds
    assert type(converted) is float


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30", "30s"),
        ("30 s", "30s"),
        ("30S", "30s"),
        ("5min", "5m"),
        ("10 seconds", "10s"),
        ("500 ms", "500ms"),
        ("2hours", "2h"),
        ("1.5", "1.5s"),
        ("2w", "14d"),
        ("1 year", "365d"),
    ],
)
def test_duration_nearly_right_says_what_was_meant(text: str, meant: str) -> None:
    assert refused(DURATION, text) == f"expected a duration such as 500ms, 30s or 5m, or 0; did you mean {meant}?"


@pytest.mark.parametrize(
    "value", ["", "soon", "-1s", "+1s", "1e3s", "nan", "nans", "inf", ".5s", "1.s", "1m30s", "3 mo", "0.5w", "3x", float("nan"), True, None]
)
def test_no_duration(value: object) -> None:
    assert refused(DURATION, value) == "expected a duration such as 500ms, 30s or 5m, or 0"


@pytest.mark.parametrize(
    "value", [-1, -0.5, 1e-9, "0.5ms", "366d", "999999999999d", float("inf"), float("-inf"), 10**400, timedelta(days=-1)]
)
def test_duration_out_of_range(value: object) -> None:
    assert refused(DURATION, value) == "expected a duration from 1ms to 365d, or 0"


@pytest.mark.parametrize("value", ["0", "0s", 0, 0.0, "0.0ms"])
def test_duration_that_must_not_be_zero(value: object) -> None:
    assert refused(DurationForm(zero=False), value).startswith("expected a duration ")


@given(st.just(0.0) | st.floats(0.001, 365 * 86400.0) | st.integers(1, 10**6).map(lambda number: number / 1000))
def test_every_duration_reads_back(seconds: float) -> None:
    assert DURATION.convert(DURATION.show(seconds)) == DURATION.convert(seconds) == seconds


def test_durations_are_shown_in_the_largest_unit_that_divides_them() -> None:
    assert [DURATION.show(value) for value in (0.0, 0.5, 1.0, 90.0, 300.0, 7200.0, 86400.0)] == [
        "0s",
        "500ms",
        "1s",
        "90s",
        "5m",
        "2h",
        "1d",
    ]
    assert DURATION.show(0.1 + 0.2) == "0.30000000000000004s"


# Numbers, flags, words


@pytest.mark.parametrize("value", ["", "0", "10", "-1", "1.0", "1 0", "nan", "9" * 5000, 0, 10, True, 1.0, None])
def test_no_whole_number_of_a_range(value: object) -> None:
    assert refused(WholeForm(1, 9), value) == "expected a whole number from 1 to 9"


def test_whole_numbers() -> None:
    assert [WholeForm(1, 9).convert(value) for value in ("1", " 9 ", 5)] == [1, 9, 5]


@pytest.mark.parametrize(
    ("value", "flag"),
    [("on", True), ("yes", True), ("True", True), ("off", False), ("NO", False), ("false", False), (True, True), (False, False)],
)
def test_flags(value: object, flag: bool) -> None:
    assert FlagForm().convert(value) is flag


@pytest.mark.parametrize("value", ["", "1", "0", "y", "enabled", 1, 0, None])
def test_no_flag(value: object) -> None:
    assert refused(FlagForm(), value) == "expected on or off"


def test_words() -> None:
    form = get_form(Literal["auto", "text", "json"])
    assert form.convert("JSON") == "json"
    assert refused(form, "jsno") == "expected auto, text or json; did you mean json?"
    assert refused(form, 7) == "expected auto, text or json"


def test_an_annotation_without_a_form_is_a_mistake_in_the_code() -> None:
    with pytest.raises(TypeError, match="no form for the annotation"):
        get_form(int)
    with pytest.raises(TypeError, match="no form for the annotation"):
        get_form(Annotated[int, "text"])


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\x0b", "\x1b", "\x7f", "\x85", "\u2028", "\ud800", "a\tb"])
def test_control_characters_are_refused_in_text(character: str) -> None:
    assert refused(get_form(App), f"mod{character}:name") == "expected text without control characters"


# Lists, levels, paths


def test_lists() -> None:
    tokens = get_form(Tokens)
    assert tokens.convert("") == ()
    assert tokens.convert(" chat.v2 ,chat.v1") == tokens.convert(["chat.v2", "chat.v1"]) == ("chat.v2", "chat.v1")
    assert refused(tokens, "a, b, a") == "expected each only once; a is there twice"
    for bad in ("a,,b", "a,", ",", "a b", "a/b", [1], [""], ["a,b"], {"a"}, 5):
        assert refused(tokens, bad).startswith("expected names made of letters")


def test_mount_paths() -> None:
    assert get_form(MountPaths).convert("/a, /b/{x}") == ("/a", "/b/{x}")
    assert refused(get_form(MountPaths), "chat") == "expected paths of mounts such as /chat"


def test_levels() -> None:
    levels = get_form(Levels)
    assert levels.convert("") == {}
    assert levels.convert("wsdaemon.wire=debug, myapp = WARN") == {"wsdaemon.wire": "debug", "myapp": "warn"}
    assert levels.convert({"myapp": "warn"}) == {"myapp": "warn"}
    assert refused(levels, "a=info, a=debug") == "expected each namespace only once; a is there twice"
    assert refused(levels, "a=wran").endswith("; did you mean warn?")
    for bad in ("a", "a=", "=info", "a.=info", "a b=info", "a=info,", {"a": 1}, {1: "info"}, 5):
        assert refused(levels, bad).startswith("expected pairs such as myapp=warn, wsdaemon.wire=debug")


def test_relative_paths_start_from_the_directory_of_the_file() -> None:
    for form, given_text, located in (
        (get_form(File), "tls/cert.pem", HERE / "tls/cert.pem"),
        (get_form(File), "/etc/cert.pem", Path("/etc/cert.pem")),
        (get_form(File), "", None),
        (get_form(Directories), "lib, /opt/lib", (HERE / "lib", Path("/opt/lib"))),
        (get_form(Destination), "./ws.log", HERE / "ws.log"),
        (get_form(Destination), "stdout", "stdout"),
        (get_form(AddressText), "unix:ws.sock", UnixAddress("/srv/ws/ws.sock")),
    ):
        assert form.locate(form.convert(given_text), HERE) == located
    assert get_form(File).convert(Path("x")) == Path("x")
    assert get_form(Destination).convert(Path("ws.log")) == Path("ws.log")


def test_a_misspelt_destination_is_no_file() -> None:
    message = "expected auto, stdout, journal or the path of a file with a / in it"
    assert refused(get_form(Destination), "jornal") == f"{message}; did you mean journal?"
    for bad in ("", "/var/log/", 5):
        assert refused(get_form(Destination), bad) == message


def test_paths_that_one_line_cannot_carry_are_refused() -> None:
    assert refused(get_form(File), Path("a\nb")) == "expected text without control characters"
    assert refused(get_form(File), Path("a ")) == "expected text without blanks at its ends"
    assert refused(get_form(File), Path("a\udcff")) == "expected text without control characters"
    assert refused(get_form(Directories), [Path("a,b")]) == "expected directories, with commas between them"
    assert refused(get_form(File), 5) == "expected the path of a file, or nothing"


# Apps


def coroutine_app() -> None:
    """Stands for a user's app."""


class AppObject:
    def open(self) -> None:
        """Stands for the method of an app."""


@pytest.mark.parametrize("app", [coroutine_app, AppObject, AppObject(), lambda: None])
def test_a_live_app_is_passed_through(app: object) -> None:
    assert get_form(App).convert(app) is app


@pytest.mark.parametrize("app", ["echo", "module:function", "a.b.c:Class.method", "módulo:función"])
def test_apps(app: str) -> None:
    assert get_form(App).convert(app) == app


@pytest.mark.parametrize(
    "app", ["", "Echo", "a b", "module:", ":name", "a..b:c", "a:b:c", "a.b", "class:name", "a-b:c", "/bin/cat", 5, None]
)
def test_no_app(app: object) -> None:
    assert refused(get_form(App), app) == "expected a built-in app, module:function or module:Class"


def test_the_text_of_an_app() -> None:
    assert app_text("echo") == "echo"
    assert app_text(coroutine_app) == f"{__name__}:coroutine_app"
    assert app_text(AppObject()) == f"{__name__}:AppObject"
    assert is_reference(app_text(coroutine_app))


# Secrets


def test_a_secret_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    form = get_form(SecretFile)
    secret = form.locate(form.convert("password"), tmp_path)
    assert isinstance(secret, Secret)
    assert secret.reveal() == "hunter2"
    assert form.show(secret) == str(tmp_path / "password")
    assert "hunter2" not in f"{secret!r} {secret}"
    assert form.locate(form.convert(secret), tmp_path) is secret
    assert form.locate(form.convert(""), tmp_path) is None


def test_a_secret_file_that_cannot_be_used(tmp_path: Path) -> None:
    form = get_form(SecretFile)
    for name, content in (("empty", b""), ("lines", b"a\nb\n"), ("binary", b"\xff"), ("large", b"a" * 70_000)):
        (tmp_path / name).write_bytes(content)
    for given_text in ("empty", "lines", "binary", "large", "missing", ".", "x" * 300):
        with pytest.raises(Refused, match="holds the secret") as caught:
            form.locate(form.convert(given_text), tmp_path)
        assert str(tmp_path) not in str(caught.value)


# Problems


def test_a_problem_in_words() -> None:
    problem = Problem("etc/ws.ini", 14, "mount:/chat", "max_message", "1 potato", "expected a size such as 64KiB or 1MiB")
    assert str(problem) == "etc/ws.ini:14: [mount:/chat] max_message = 1 potato: expected a size such as 64KiB or 1MiB"
    assert str(Problem("x", None, None, None, None, "no such file")) == "x: no such file"
    assert str(Problem("x", 1, "daemon", "retry_after", "", "expected")) == "x:1: [daemon] retry_after = (empty): expected"


def test_what_does_not_print_is_escaped() -> None:
    assert printable("a\x1b[31m\u202e\ud800é") == "a\\x1b[31m\\u202e\\ud800é"
    assert printable("a" * 201) == "a" * 200 + "..."


@dataclass(frozen=True)
class Shape:
    size: PositiveSize


def test_the_types_stay_plain_for_readers() -> None:
    assert Shape(size=5).size == 5
