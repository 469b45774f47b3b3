"""The INI file: its dialect, the problems it can have, and where they are said to be."""

from __future__ import annotations

import configparser
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.settings.apps import APP_OPTIONS, EchoOptions, TickerOptions
from wsdaemon.settings.ini import Problem, SettingsError, load, read, read_sections
from wsdaemon.settings.model import Settings
from wsdaemon.settings.values import TcpAddress, UnixAddress

ROOT = Path(__file__).resolve().parents[2]

MINIMAL = "[listener:web]\naddress = tcp:8080\n[mount:/echo]\napp = echo\n"


def load_text(tmp_path: Path, text: str | bytes) -> Settings:
    path = tmp_path / "ws.ini"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path)


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    """The problems of a file, each without the path in front."""
    with pytest.raises(SettingsError) as caught:
        load_text(tmp_path, text)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    assert all(problem.source == str(tmp_path / "ws.ini") for problem in caught.value.problems)
    return [str(problem).removeprefix(str(tmp_path / "ws.ini")) for problem in caught.value.problems]


def test_the_smallest_file_has_the_defaults(tmp_path: Path) -> None:
    settings = load_text(tmp_path, MINIMAL)
    assert settings.source == str(tmp_path / "ws.ini")
    assert settings.warnings == ()
    assert (settings.daemon.drain_timeout, settings.daemon.max_connections, settings.daemon.retry_after) == (10.0, 10_000, 5.0)
    assert (settings.daemon.python_path, settings.daemon.accelerator) == ((), "auto")
    logging = settings.logging
    assert (logging.level, logging.levels, logging.format, logging.destination, logging.connections) == ("info", {}, "auto", "auto", True)
    (listener,) = settings.listeners
    assert (listener.name, listener.address, listener.mounts) == ("web", TcpAddress(8080), ())
    assert (listener.tls_certificate, listener.tls_key) == (None, None)
    assert (listener.backlog, listener.handshake_timeout, listener.max_connections, listener.max_handshakes) == (4096, 10.0, 0, 1000)
    (mount,) = settings.mounts
    assert (mount.path, mount.app, mount.options, mount.subprotocols) == ("/echo", "echo", EchoOptions(), ())
    assert (mount.max_message, mount.max_fragments, mount.max_connections, mount.send_backlog) == (2**20, 100_000, 0, 2**20)
    assert (mount.ping_interval, mount.ping_timeout, mount.close_timeout) == (25.0, 10.0, 5.0)
    assert (mount.compression, mount.compression_level, mount.compression_window_bits, mount.compression_memory_level) == (True, 6, 11, 4)
    assert mount.compression_threshold == 256
    assert mount.compression_server_context_takeover
    assert mount.compression_client_context_takeover


def test_a_mount_starts_from_the_defaults(tmp_path: Path) -> None:
    text = MINIMAL + "max_message = 2MiB\n[defaults]\nmax_message = 64KiB\nping_interval = 0\ninterval = 5s\n"
    text += "[mount:/ticker]\napp = ticker\n[mount:/fast]\napp = ticker\ninterval = 100ms\n[mount:/own]\napp = my.code:Class\n"
    echo, ticker, fast, own = load_text(tmp_path, text).mounts
    assert (echo.max_message, echo.ping_interval, echo.options) == (2**21, 0.0, EchoOptions())
    assert (ticker.max_message, ticker.options) == (2**16, TickerOptions(interval=5.0))
    assert fast.options == TickerOptions(interval=0.1)
    assert (own.app, own.options) == ("my.code:Class", None)


def test_the_example_loads() -> None:
    settings = load(ROOT / "etc" / "ws.ini")
    assert [str(listener.address) for listener in settings.listeners] == ["tcp:8080:interface=127.0.0.1"]
    assert {mount.path: mount.app for mount in settings.mounts} == {
        "/echo": "echo",
        "/ticker": "ticker",
        "/chat": "wsdaemon.examples.chat:chat",
    }


def test_paths_start_from_the_directory_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    text = "[daemon]\npython_path = ../lib\n[logging]\ndestination = ./ws.log\n[mount:/a]\napp = echo\n"
    text += "[listener:web]\naddress = unix:ws.sock\ntls_certificate = cert.pem\ntls_key = key.pem\n"
    (tmp_path / "etc" / "ws.ini").write_text(text)
    monkeypatch.chdir(tmp_path)
    settings = load("etc/ws.ini")
    assert settings.daemon.python_path == (tmp_path / "etc/../lib",)
    assert settings.logging.destination == tmp_path / "etc/ws.log"
    assert settings.listeners[0].address == UnixAddress(str(tmp_path / "etc/ws.sock"))
    assert settings.listeners[0].tls_certificate == tmp_path / "etc/cert.pem"


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = """\
[daemon]
drain_timeout = 10
max_conections = 5
[logging]
level = verbose
[listener:web]
address = tcp:99999
tls_key = key.pem
mounts = /chatt
[listener:admin]
tls_certificate = cert.pem
address = tcp:8081
max_handshakes = 0
nonsense
[moutn:/other]
app = echo
[mount:/chat]
max_mesage = 1MiB
max_message = 1 potato
app = ehco
interval = 1s
[mount:/echo]
app = echo
interval = 1s
compression_window_bits = 8
"""
    assert problems(tmp_path, text) == [
        ":2: [daemon] drain_timeout = 10: expected a duration such as 500ms, 30s or 5m, or 0; did you mean 10s?",
        ":3: [daemon] max_conections: unknown key; did you mean max_connections?",
        ":5: [logging] level = verbose: expected debug, info, warn, error or critical",
        ":7: [listener:web] address = tcp:99999: expected tcp:PORT or tcp:PORT:interface=ADDRESS; PORT is a number from 0 to 65535",
        ":9: [listener:web] mounts = /chatt: no [mount:/chatt] section; did you mean /chat?",
        ":11: [listener:admin] tls_certificate = cert.pem: expected tls_key too: TLS needs both",
        ":13: [listener:admin] max_handshakes = 0: expected a whole number from 1 to 1000000000",
        ":14: [listener:admin] nonsense: expected key = value",
        ":15: [moutn:/other]: unknown section; did you mean [mount:/other]?",
        ":18: [mount:/chat] max_mesage: unknown key; did you mean max_message?",
        ":19: [mount:/chat] max_message = 1 potato: expected a size such as 64KiB or 1MiB",
        f":20: [mount:/chat] app = ehco: {APPS}; did you mean echo?",
        ":24: [mount:/echo] interval: option of the app ticker; the app here is echo",
        ":25: [mount:/echo] compression_window_bits = 8: expected a whole number from 9 to 15",
    ]


def test_a_problem_has_all_its_parts(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_text(tmp_path, MINIMAL + "max_message = 1 potato\n")
    message = "expected a size such as 64KiB or 1MiB"
    assert caught.value.problems == [Problem(str(tmp_path / "ws.ini"), 5, "mount:/echo", "max_message", "1 potato", message)]
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("[DEFAULT]", ":5: [DEFAULT]: unknown section; did you mean [defaults]?"),
        ("[default]", ":5: [default]: unknown section; did you mean [defaults]?"),
        ("[daemon:x]", ":5: [daemon:x]: unknown section; did you mean [daemon]?"),
        ("[lisener:x]", ":5: [lisener:x]: unknown section; did you mean [listener:x]?"),
        ("[mounts]", ":5: [mounts]: unknown section; did you mean [mount:PATH]?"),
        (
            "[zzz]",
            (
                ":5: [zzz]: unknown section; the sections are [daemon], [logging], [admin], [broker], [defaults], [listener:NAME], "
                "[mount:PATH], [auth:NAME], [tls:NAME], [token:NAME]"
            ),
        ),
        ("[listener]", ":5: [listener]: expected [listener:NAME], with a name of up to 64 letters, digits, _ . and -"),
        ("[listener:a b]", ":5: [listener:a b]: expected [listener:NAME], with a name of up to 64 letters, digits, _ . and -"),
        ("[mount]", ":5: [mount]: expected a path that starts with /, such as [mount:/chat] or [mount:/rooms/{name}]"),
        ("[mount:/{x}y]", ":5: [mount:/{x}y]: expected each parameter as a whole segment, such as /{name}, not {x}y"),
        ("[daemon", ":5: [daemon: expected [section] alone on its line; a comment needs a line of its own"),
        ("[daemon] # here", ":5: [daemon] # here: expected [section] alone on its line; a comment needs a line of its own"),
        ("[]", ":5: []: expected [section] alone on its line; a comment needs a line of its own"),
        ("max_message: 1MiB", ":5: [mount:/echo] max_message: 1MiB: expected key = value"),
        ("= 1", ":5: [mount:/echo]: expected key = value; the key before the = is missing"),
        (" max_message = 1", ":5: [mount:/echo]: expected no blanks at the start of a line; a value ends with its own line"),
        ("app = ticker", ":5: [mount:/echo] app: key given twice (first on line 4)"),
        ("Max_Message = 1", ":5: [mount:/echo] Max_Message: unknown key; did you mean max_message?"),
        ("max-message = 1", ":5: [mount:/echo] max-message: unknown key; did you mean max_message?"),
        ("backlog = 5", ":5: [mount:/echo] backlog: unknown key; expected it in [listener:NAME]"),
        ("max_message =", ":5: [mount:/echo] max_message = (empty): expected a size such as 64KiB or 1MiB"),
        (
            "max_message = 1MiB ; big",
            ":5: [mount:/echo] max_message = 1MiB ; big: expected a size such as 64KiB or 1MiB; a comment needs a line of its own",
        ),
        ("max_message = x # y", ":5: [mount:/echo] max_message = x # y: expected a size such as 64KiB or 1MiB"),
        (
            "lifetime = 3y",
            ":5: [mount:/echo] lifetime = 3y: expected a duration such as 500ms, 30s or 5m, or 0; the longest is 365d",
        ),
        ("max_message = %(size)s", ":5: [mount:/echo] max_message = %(size)s: expected a size such as 64KiB or 1MiB"),
        ("subprotocols = a\tb", ":5: [mount:/echo] subprotocols = a\\tb: expected text without control characters"),
        ("subprotocols = a\x1bb", ":5: [mount:/echo]: control character; expected plain text"),
        ("# a \x0c comment", ":5: [mount:/echo]: control character; expected plain text"),
        ("[defaults]\napp = echo", ":6: [defaults] app: not allowed in [defaults]; expected it in each [mount:PATH]"),
        ("[defaults]\ninterval = x", ":6: [defaults] interval = x: expected a duration such as 500ms, 30s or 5m"),
        ("[daemon]\nlevel = info", ":6: [daemon] level: unknown key; expected it in [logging]"),
        (
            "[daemon]\nmax_message = 1MiB",
            ":6: [daemon] max_message: unknown key; expected it in [defaults] or [mount:PATH]",
        ),
        (
            "[daemon]\nzzz = 1",
            (
                ":6: [daemon] zzz: unknown key; "
                "the keys here are drain_timeout, drain_grace, drain_over, drain_retry, start_timeout, stall_warning, workers, "
                "worker_timeout, control, max_connections, max_threads, retry_after, python_path, "
                "accelerator"
            ),
        ),
        ("[mount:/echo]\napp = echo", ":5: [mount:/echo]: section given twice (first on line 3)"),
        ("[mount:/a]", ":5: [mount:/a] app: missing key; expected a built-in app, module:function or module:Class"),
        (
            "[mount:/a]\napp = own:code\ninterval = 1s",
            ":7: [mount:/a] interval: option of the app ticker; the app here is own:code",
        ),
        (
            "[listener:b]\naddress = tcp:8080",
            ":6: [listener:b] address = tcp:8080: same address as [listener:web] (first on line 1); expected one listener for it",
        ),
        (
            "[listener:b]\naddress = tcp:80\ntls_key = k",
            ":7: [listener:b] tls_key = k: expected tls_certificate too: TLS needs both",
        ),
    ],
)
def test_one_problem(tmp_path: Path, lines: str, expected: str) -> None:
    assert problems(tmp_path, MINIMAL + lines + "\n") == [expected]


APPS = f"expected a built-in app ({', '.join(APP_OPTIONS)}), module:function or module:Class"


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        ("echo   # comment", "; a comment needs a line of its own: did you mean echo?"),
        ("good:chat ; mine", "; a comment needs a line of its own: did you mean good:chat?"),
        ("12 # what", "; a comment needs a line of its own"),
        ("good.chat", "; did you mean good:chat?"),
        ("my.good.chat", "; did you mean my.good:chat?"),
        ("good.py", "; did you mean good:function?"),
        ("./my/good.py", ""),
        ("my-app", ""),
    ],
)
def test_an_app_that_is_nearly_right(tmp_path: Path, app: str, hint: str) -> None:
    text = MINIMAL.replace("app = echo", f"app = {app}")
    assert problems(tmp_path, text) == [f":4: [mount:/echo] app = {app}: {APPS}{hint}"]


def test_two_mounts_of_one_shape(tmp_path: Path) -> None:
    text = MINIMAL + "[mount:/a/{x}]\napp = echo\n[mount:/a/{y}]\napp = echo\n"
    assert problems(tmp_path, text) == [":7: [mount:/a/{y}]: same paths as [mount:/a/{x}] (first on line 5); expected one mount for them"]


def test_no_listener_and_no_mount(tmp_path: Path) -> None:
    for empty in ("", "\n\n# nothing\n", "[daemon]\n"):
        assert problems(tmp_path, empty) == [
            ": no [listener:NAME] section; expected at least one, with a line such as address = tcp:8080",
            ": no [mount:PATH] section; expected at least one, with a line such as app = echo",
        ]


def test_a_key_before_any_section(tmp_path: Path) -> None:
    assert problems(tmp_path, "app = echo\n" + MINIMAL) == [":1: app: expected a [section] before the first key"]


def test_keys_under_a_broken_header_are_not_held_against_another_section(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.encode() + b"[logging\nlevel = info\n[bad\xff\nzzz = 1\n") == [
        ":5: [logging: expected [section] alone on its line; a comment needs a line of its own",
        ":7: byte 0xff is not UTF-8; expected the file in UTF-8",
    ]


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.encode() + b"subprotocols = caf\xe9\n# \xfc\nzz = 1\n")[:2] == [
        ":5: [mount:/echo]: byte 0xe9 is not UTF-8; expected the file in UTF-8",
        ":6: [mount:/echo]: byte 0xfc is not UTF-8; expected the file in UTF-8",
    ]


def test_a_byte_order_mark(tmp_path: Path) -> None:
    message = ":1: the file starts with a byte order mark; expected plain UTF-8, saved without one"
    assert problems(tmp_path, b"\xef\xbb\xbf" + MINIMAL.encode()) == [message]


def test_utf16_and_binary_are_one_problem(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL.encode("utf-16")) == [":1: NUL byte; expected a text file in UTF-8"]
    assert problems(tmp_path, MINIMAL.encode() + b"\0\n\0") == [":5: NUL byte; expected a text file in UTF-8"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.ini", "no such file; expected an INI file"),
        (".", "this is a directory; expected an INI file"),
        ("a\0b", "expected a path without NUL characters"),
        ("x" * 300, "the file cannot be read: File name too long"),
        ("/dev/zero", "expected an INI file of up to 1MiB"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(str(tmp_path / path))
    (problem,) = caught.value.problems
    assert problem.message == message
    assert problem.line is None


def test_line_ends_blanks_and_comments(tmp_path: Path) -> None:
    text = b"\r\n# comment\r\n  ; indented comment\r\n[listener:web]\t\r\naddress\t=\ttcp:8080  \r\n\t\r\n[mount:/echo]\r\napp=echo"
    assert load_text(tmp_path, text) == load_text(tmp_path, MINIMAL)


def test_a_percent_sign_is_only_that(tmp_path: Path) -> None:
    text = "[listener:web]\naddress = unix:/run/%(here)s/100%.sock\n[mount:/50%off]\napp = echo\nsubprotocols = %d%%\n"
    settings = load_text(tmp_path, text)
    assert settings.listeners[0].address == UnixAddress("/run/%(here)s/100%.sock")
    assert (settings.mounts[0].path, settings.mounts[0].subprotocols) == ("/50%off", ("%d%%",))


def test_the_first_equals_sign_parts_key_and_value(tmp_path: Path) -> None:
    assert load_text(tmp_path, MINIMAL + "[logging]\nlevels = a=warn, b.c=debug\n").logging.levels == {"a": "warn", "b.c": "debug"}


def test_addresses_that_may_come_twice(tmp_path: Path) -> None:
    addresses = ("tcp:0", "tcp:0", "tcp:80:interface=0.0.0.0", "tcp:80:interface=[::]", "systemd:index=0", "systemd:index=1")
    listeners = [f"[listener:{name}]\naddress = {address}\n" for name, address in enumerate(addresses)]
    assert len(load_text(tmp_path, "[mount:/a]\napp = echo\n" + "".join(listeners)).listeners) == len(addresses)


def test_a_mount_that_no_listener_serves_is_a_warning(tmp_path: Path) -> None:
    settings = load_text(tmp_path, MINIMAL.replace("tcp:8080", "tcp:8080\nmounts = /echo") + "[mount:/lost]\napp = echo\n")
    assert settings.warnings == ("[mount:/lost] is served by no listener",)


# The dialect


plain = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x24F, exclude_categories=["Cc", "Zs", "Cf"]), min_size=1, max_size=12)
headers = plain.map("[{}]".format)
assignments = st.tuples(plain, st.sampled_from(["=", " = ", "\t= "]), plain | st.just("")).map("".join)
others = st.sampled_from(["", "# note", "; note", "  # note", " a = b", "[x"])
lines_of_any_kind = st.lists(headers | assignments | plain | others, max_size=12)


@given(lines_of_any_kind)
def test_what_is_taken_is_what_rawconfigparser_reads(lines: list[str]) -> None:
    """Whenever our reader has no problem with the lines, and no key or section comes twice, RawConfigParser agrees."""
    found: list[Problem] = []
    text = "\n".join(lines)
    sections = read_sections(text.encode(), "test", found)
    names = [section.name for section in sections]
    if found or len(set(names)) < len(names) or "DEFAULT" in names:
        return
    ours = {section.name: {entry.key: entry.value for entry in section.entries} for section in sections}
    if sum(len(section.entries) for section in sections) > sum(len(entries) for entries in ours.values()):
        return
    parser = configparser.RawConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    assert {name: dict(parser.items(name)) for name in parser.sections()} == ours
    for section in sections:
        for entry in section.entries:
            assert entry.line is not None
            assert lines[entry.line - 1].startswith(entry.key)


@given(st.binary(max_size=200) | lines_of_any_kind.map(lambda lines: "\n".join(lines).encode()))
def test_no_content_is_a_traceback(content: bytes) -> None:
    read_sections(content, "test", [])


def test_a_ping_timeout_that_makes_the_interval_longer(tmp_path: Path) -> None:
    (warning,) = load_text(tmp_path, MINIMAL + "ping_interval = 5s\n").warnings
    assert warning == "[mount:/echo] ping_timeout is longer than ping_interval: a silent client is pinged once per ping_timeout"
    for good in ("ping_interval = 0", "ping_interval = 10s", "ping_interval = 5s\nping_timeout = 5s"):
        assert not load_text(tmp_path, MINIMAL + good + "\n").warnings


# -- a line with a problem hides nothing, and nothing seems to be missing because of it


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("\tapp = echo", ":4: [mount:/echo]: expected no blanks at the start of a line; a value ends with its own line"),
        ("app = ec\xffho", ":4: [mount:/echo]: byte 0xff is not UTF-8; expected the file in UTF-8"),
        ("app = ec\x07ho", ":4: [mount:/echo]: control character; expected plain text"),
        ("app: echo", ":4: [mount:/echo] app: echo: expected key = value"),
        ("app echo", ":4: [mount:/echo] app echo: expected key = value"),
    ],
)
def test_a_key_in_a_line_with_a_problem_is_not_missing(tmp_path: Path, line: str, problem: str) -> None:
    text = "[listener:web]\naddress = tcp:8080\n[mount:/echo]\n" + line + "\n"
    (tmp_path / "ws.ini").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "ws.ini")
    assert str(caught.value) == f"{tmp_path}/ws.ini{problem}"


def test_the_value_of_an_indented_line_is_checked_too(tmp_path: Path) -> None:
    assert problems(tmp_path, MINIMAL + "  max_message = much\n  and more\n  [logging]\n  level = loud\n") == [
        ":5: [mount:/echo]: expected no blanks at the start of a line; a value ends with its own line",
        ":5: [mount:/echo] max_message = much: expected a size such as 64KiB or 1MiB",
        ":6: [mount:/echo]: expected no blanks at the start of a line; a value ends with its own line",
        ":7: [mount:/echo]: expected no blanks at the start of a line; a value ends with its own line",
        ":8: [logging]: expected no blanks at the start of a line; a value ends with its own line",
        ":8: [logging] level = loud: expected debug, info, warn, error or critical",
    ]


def test_a_section_whose_header_has_a_comment_is_not_missing(tmp_path: Path) -> None:
    text = "[listener:web]\naddress = tcp:8080\nmounts = /echo\n[mount:/echo] # the first\napp = echo\nmax_message = much\n"
    assert problems(tmp_path, text) == [
        ":4: [mount:/echo] # the first: expected [section] alone on its line; a comment needs a line of its own",
        ":6: [mount:/echo] max_message = much: expected a size such as 64KiB or 1MiB",
    ]


def test_problems_come_with_the_settings_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "ws.ini"
    path.write_text(MINIMAL + "max_message = much\n[mount:/none]\n[listener:two]\naddress = nowhere\n")
    usable, found = read(path)
    assert [problem.line for problem in found] == [5, 6, 8]
    assert usable is not None
    assert [mount.path for mount in usable.mounts] == ["/echo"]
    assert [listener.name for listener in usable.listeners] == ["web"]
    assert read(tmp_path / "nothing.ini")[0] is None


def test_where_a_later_problem_stands(tmp_path: Path) -> None:
    settings = load_text(tmp_path, "[defaults]\npolicy = m:C\n" + MINIMAL.replace("app = echo", "app = rooms"))
    lines = [settings.problem("mount:/echo", "x", key).line for key in ("app", "policy", "max_message")]
    assert lines == [6, 2, 5]
    assert settings.problem("admin", "x").line is None
