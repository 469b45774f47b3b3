"""settings/values.py: words, lists, paths, apps and secrets: what they take, and what they say when they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from tests.support.forms import HERE, refused
from wsdaemon.core.closing import may_be_sent
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.values import (
    AddressText,
    App,
    CloseCode,
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
        with pytest.raises(BadValue, match="holds the secret") as caught:
            form.locate(form.convert(given_text), tmp_path)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xef\xbb\xbfhunter2", "the file starts with a byte order mark; save it as plain UTF-8, without one"),
        ("hunter2".encode("utf-16"), "the file is UTF-16; save it as plain UTF-8"),
        (b"\xe9", "the file is not UTF-8 text"),
        (b"", "the file must hold one line of up to 64KiB"),
    ],
)
def test_the_reason_why_a_secret_file_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "password").write_bytes(content)
    form = get_form(SecretFile)
    with pytest.raises(BadValue) as caught:
        form.locate(form.convert("password"), tmp_path)
    assert str(caught.value) == f"expected the path of a file that holds the secret, or nothing; {reason}"


@dataclass(frozen=True)
class Shape:
    size: PositiveSize


def test_the_types_stay_plain_for_readers() -> None:
    assert Shape(size=5).size == 5


# Close codes


def test_a_close_code_is_one_that_a_server_may_send() -> None:
    form = get_form(CloseCode)
    for code in range(900, 5100):
        if may_be_sent(code):
            assert form.convert(str(code)) == form.convert(code) == code
        else:
            assert refused(form, str(code)) == refused(form, code) == "expected a close code: 1000 to 1003, 1007 to 1014 or 3000 to 4999"


@pytest.mark.parametrize("value", ["", "four", "+4013", "4013.0", "40 13", "04013", "٤٠١٣", True, None, 4013.5, b"4013"])
def test_anything_else_is_no_close_code(value: object) -> None:
    assert refused(get_form(CloseCode), value).startswith("expected a close code")
