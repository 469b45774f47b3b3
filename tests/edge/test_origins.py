"""edge/origins.py: which sites' pages may open connections."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsdaemon.edge.origins import ConsoleAddress, Origins, is_console
from wsdaemon.settings.build import build, section
from wsdaemon.settings.form import ListForm
from wsdaemon.settings.origins import OriginForm, parse_pattern
from wsdaemon.settings.problems import BadValue, SettingsError

SAME = Origins.parse(["same-origin"])
HOST = "ws.example.com"


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        ("https://ws.example.com", "ws.example.com", True),
        ("https://ws.example.com:443", "ws.example.com", True),
        ("https://ws.example.com", "ws.example.com:443", True),
        ("http://ws.example.com", "ws.example.com:80", False),
        ("http://ws.example.com", "ws.example.com:", False),
        ("HTTP://WS.example.COM:8080", "ws.EXAMPLE.com:8080", False),
        ("http://[::1]:8080", "[::1]:8080", False),
        ("http://[0:0::1]", "[::1]", False),
        ("https://[2001:DB8::A]", "[2001:db8:0::a]:443", True),
        ("http://127.0.0.1:9", "127.0.0.1:9", False),
        ("http://localhost:3000", "localhost:3000", False),
        ("https://ws.example.com/", "ws.example.com", True),  # Go's x/net documents such a one
        ("http://localhost/", "localhost", False),
        ("wss://ws.example.com", "ws.example.com", True),
        ("ws://127.0.0.1:9000", "127.0.0.1:9000", False),  # ws4py
    ],
)
def test_same_origin(origin: str, host: str, secure: bool) -> None:
    assert SAME.allows(origin, host, secure)
    assert not Origins.parse(["https://other.example"]).allows(origin, host, secure)


@pytest.mark.parametrize(
    ("origin", "host", "secure"),
    [
        ("http://ws.example.com", "ws.example.com", True),
        ("https://ws.example.com", "ws.example.com", False),
        ("https://ws.example.com:80", "ws.example.com", True),
        ("http://ws.example.com:443", "ws.example.com:443", True),
        ("https://ws.example.com:8443", "ws.example.com", True),
        ("https://www.ws.example.com", "ws.example.com", True),
        ("https://example.com", "ws.example.com", True),
        ("https://ws.example.com.", "ws.example.com", True),
        ("https://ws.example.com.evil.example", "ws.example.com", True),
        ("https://ws.example.com@evil.example", "ws.example.com", True),
        ("https://user@ws.example.com", "ws.example.com", True),
        ("https://ws.example.com//", "ws.example.com", True),
        ("https://ws.example.com/x", "ws.example.com", True),
        ("ws://ws.example.com", "ws.example.com", True),
        ("wss://ws.example.com", "ws.example.com", False),
        ("file://", "", False),
        ("app://ws.example.com", "ws.example.com", False),
        ("https://ws.example.com?", "ws.example.com", True),
        ("https://ws.example.com https://evil.example", "ws.example.com", True),
        ("https://ws.example.com:0443x", "ws.example.com", True),
        ("https://ws.example.com:99999", "ws.example.com", True),
        ("https://ws.example.com:", "ws.example.com", True),
        ("https:ws.example.com", "ws.example.com", True),
        ("//ws.example.com", "ws.example.com", True),
        ("ws.example.com", "ws.example.com", True),
        ("null", "null", False),
        ("", "", False),
        ("http://[::1]", "[::2]", False),
        ("http://[::1", "[::1", False),
        ("http://[zz]", "[zz]", False),
    ],
)
def test_not_the_same_origin(origin: str, host: str, secure: bool) -> None:
    assert not SAME.allows(origin, host, secure)


def test_clients_that_are_no_browsers_name_no_origin() -> None:
    for origins in (SAME, Origins.parse([]), Origins.parse(["null"])):
        assert origins.allows(None, HOST, True)


def test_null_must_be_listed() -> None:
    assert not Origins.parse(["same-origin", "*.example.com"]).allows("null", HOST, True)
    assert Origins.parse(["null"]).allows("null", HOST, True)
    assert not Origins.parse(["null"]).allows("https://a.example", HOST, True)


def test_any() -> None:
    for origin in ("https://evil.example", "null", "nonsense", ""):
        assert Origins.parse(["any"]).allows(origin, HOST, True)


@pytest.mark.parametrize(
    ("pattern", "origin", "secure", "fits"),
    [
        ("https://www.example.com", "https://www.example.com", True, True),
        ("https://www.example.com", "https://WWW.example.com:443", True, True),
        ("HTTPS://www.Example.com:443", "https://www.example.com", True, True),
        ("https://www.example.com", "https://www.example.com:8443", True, False),
        ("https://www.example.com", "http://www.example.com", False, False),
        ("https://www.example.com:8443", "https://www.example.com:8443", True, True),
        ("https://www.example.com:8443", "https://www.example.com", True, False),
        ("www.example.com", "https://www.example.com", True, True),
        ("www.example.com", "http://www.example.com", False, True),
        ("www.example.com", "http://www.example.com", True, False),
        ("www.example.com", "ftp://www.example.com", False, False),
        ("www.example.com", "https://www.example.com:8443", True, False),
        ("localhost:*", "http://localhost:3000", False, True),
        ("http://localhost:*", "http://localhost:3000", True, True),
        ("*.example.com", "https://a.example.com", True, True),
        ("*.example.com", "https://a.b.example.com", True, True),
        ("*.example.com", "https://example.com", True, False),
        ("*.example.com", "https://evilexample.com", True, False),
        ("*.example.com", "https://a.example.com.evil.example", True, False),
        ("*.example.com", "https://.example.com", True, False),
        ("*.example.com", "https://a..example.com", True, False),
        ("*.example.com", "https://a.example.com:8443", True, False),
        ("*.example.com:8443", "https://a.example.com:8443", True, True),
        ("https://*.example.com", "http://a.example.com", False, False),
        ("*.münchen.example", "https://a.xn--mnchen-3ya.example", True, True),
        ("http://[0::1]:8080", "http://[::1]:8080", False, True),
        ("chrome-extension://abcdef", "chrome-extension://abcdef", True, True),
        ("capacitor://localhost", "capacitor://localhost", True, True),
        ("capacitor://localhost", "http://localhost", False, False),
        ("ionic://localhost", "ionic://localhost", True, True),
        ("tauri://localhost", "tauri://localhost", False, True),
        ("file://", "file://", True, True),
        ("file://", "file:///", True, True),
        ("file://", "file://host", True, False),
        ("file://", "null", True, False),
        ("app://", "app://", True, True),
        ("app://", "app://bundle", True, False),
        ("app://bundle", "app://bundle", True, True),
        ("app://.", "app://.", True, True),
        ("app://-", "app://-", True, True),
        ("app://*", "app://anything", True, True),
        ("app://*", "app://anything:80", True, True),
        ("app://*", "apps://anything", True, False),
        ("file://", "app://", True, False),
        ("chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", True, True),
        ("vscode-webview://1akf2c3v", "vscode-webview://1akf2c3v", True, True),
        ("vscode-webview://*", "vscode-webview://1akf2c3v" + "x" * 60, True, True),
        ("https://www.example.com", "wss://www.example.com/", True, True),
        ("www.example.com", "ws://www.example.com", True, False),
    ],
)
def test_patterns(pattern: str, origin: str, secure: bool, fits: bool) -> None:
    assert Origins.parse([pattern]).allows(origin, HOST, secure) is fits


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("*", "any alone"),
        ("https://www.example.com/", "did you mean https://www.example.com?"),
        ("https://www.example.com/app", "an origin has no path"),
        ("wss://www.example.com", "http or https"),
        ("a*.example.com", "whole labels"),
        ("www.*.example.com", "whole labels"),
        ("*.*.example.com", "whole labels"),
        ("*.", "whole labels"),
        ("*.10.0.0.1", "a name after *."),
        ("*.[::1]", "expected"),
        ("https://a.example:0", "a port from 1 to 65535"),
        ("https://a.example:70000", "a port from 1 to 65535"),
        ("same_origin", "did you mean same-origin?"),
        ("sameorigin", "did you mean same-origin?"),
        ("user@a.example", "expected an origin"),
        ("https://", "expected an origin"),
        ("http://*", "any alone"),
        ("file:///", "did you mean file://?"),
        ("file:///tmp", "an origin has no path"),
        ("app://bundle:0", "app://*"),
        ("app://a*", "app://*"),
        ("", "expected an origin"),
        ("a b", "expected an origin"),
    ],
)
def test_what_is_no_pattern(text: str, hint: str) -> None:
    with pytest.raises(BadValue) as caught:
        parse_pattern(text)
    assert hint in str(caught.value)


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
hosts = st.lists(labels, min_size=1, max_size=3).map(".".join)
addresses = st.ip_addresses(v=6).map("[{}]".format) | st.ip_addresses(v=4).map(str)
ports = st.none() | st.integers(1, 65535)


def with_port(host: str, port: int | None) -> str:
    return host if port is None else f"{host}:{port}"


@given(hosts | addresses, ports, st.booleans())
def test_every_origin_is_its_own_whatever_its_case(host: str, port: int | None, secure: bool) -> None:
    scheme = "https" if secure else "http"
    authority = with_port(host, port)
    origin = f"{scheme}://{authority}"
    assert SAME.allows(origin.swapcase(), authority, secure)
    assert Origins.parse([origin]).allows(origin.upper(), "other.example", secure)


@given(hosts, ports, hosts, ports, st.booleans())
def test_same_origin_means_the_same_triple(one: str, one_port: int | None, other: str, other_port: int | None, secure: bool) -> None:
    default = 443 if secure else 80
    same = one == other and (one_port or default) == (other_port or default)
    scheme = "https" if secure else "http"
    assert SAME.allows(f"{scheme}://{with_port(one, one_port)}", with_port(other, other_port), secure) is same


@given(hosts, hosts)
def test_a_wildcard_stands_for_whole_labels(below: str, base: str) -> None:
    origins = Origins.parse([f"https://*.{base}.example"])
    assert origins.allows(f"https://{below}.{base}.example", HOST, True)
    assert not origins.allows(f"https://{below}{base}.example", HOST, True) or base.startswith(below)
    assert not origins.allows(f"https://{base}.example", HOST, True) or base.endswith("." + base)


@given(st.text(string.printable + "éß\x85", max_size=40), st.text(string.printable, max_size=20), st.booleans())
def test_no_origin_is_too_strange(origin: str, host: str, secure: bool) -> None:
    origins = Origins.parse(["same-origin", "*.example.com", "https://a.example"])
    if origins.allows(origin, host, secure):
        assert origin.lower().startswith(("http://", "https://", "ws://", "wss://"))
        assert origin.removesuffix("/").count("/") == 2 and not set(origin) & set("?#@ \\")


@given(st.text(max_size=30))
def test_a_pattern_reads_as_it_is_written_or_not_at_all(text: str) -> None:
    form = ListForm(OriginForm())
    try:
        values = form.convert(text)
    except BadValue:
        return
    assert form.convert(form.show(values)) == values
    Origins.parse(values)


def test_settings() -> None:
    def mount(**keys: object) -> tuple[str, ...]:
        return build([section("listener:a", address="tcp:0"), section("mount:/", app="echo", **keys)], "x").mounts[0].origins

    assert mount() == ("same-origin",)
    assert mount(origins="Same-Origin, https://A.example:443, *.b.example") == ("same-origin", "https://a.example", "*.b.example")
    with pytest.raises(SettingsError, match="expected at least one origin; any lets every site in"):
        mount(origins="")
    with pytest.raises(SettingsError, match="expected any alone"):
        mount(origins="any, https://a.example")
    with pytest.raises(SettingsError, match=r"did you mean https://a\.example"):
        mount(origins="https://a.example/")


@pytest.mark.parametrize(
    ("origin", "host", "secure", "expected"),
    [
        ("http://127.0.0.1:9464", "127.0.0.1:8080", False, True),
        ("https://127.0.0.1:9464", "127.0.0.1:8080", True, True),
        ("https://ws.example.com:9464", "ws.EXAMPLE.com", False, True),
        ("http://[::1]:9464", "[::1]:8080", False, True),
        ("http://127.0.0.1:9464", "127.0.0.1:8080", True, False),
        ("http://127.0.0.1:9465", "127.0.0.1:8080", False, False),
        ("http://127.0.0.1", "127.0.0.1:9464", False, False),
        ("http://localhost:9464", "127.0.0.1:8080", False, False),
        ("http://evil.example:9464", "ws.example.com", False, False),
        ("file://127.0.0.1:9464", "127.0.0.1:8080", False, False),
        ("http://127.0.0.1:9464", "not a host", False, False),
        ("null", "127.0.0.1:8080", False, False),
        (None, "127.0.0.1:8080", False, False),
    ],
)
def test_the_console_is_a_page_of_the_same_host_at_its_port(origin: str | None, host: str, secure: bool, expected: bool) -> None:
    assert is_console(origin, host, secure, ConsoleAddress(9464, loopback=False)) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("127.0.0.1", True), ("127.0.0.2", True), ("[::1]", True), ("localhost", True), ("LOCALHOST", True), ("ws1.localhost", True),
        ("ws.example.com", False), ("192.0.2.1", False), ("[2001:db8::1]", False), ("localhost.example.com", False), ("alocalhost", False),
    ],
)  # fmt: skip
def test_a_console_on_loopback_is_that_of_a_loopback_host_alone(name: str, expected: bool) -> None:
    assert is_console(f"http://{name}:9464", f"{name}:8080", False, ConsoleAddress(9464, loopback=True)) is expected
    assert is_console(f"http://{name}:9464", f"{name}:8080", False, ConsoleAddress(9464, loopback=False))
