"""settings/origins.py: how an origin may be written, and in which spelling it is compared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.forms import refused
from wsdaemon.settings.origins import OriginForm, OriginPattern, parse_host, parse_pattern, parse_port
from wsdaemon.settings.problems import BadValue

FORM = OriginForm()


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("https://www.example.com", OriginPattern("https", "www.example.com", None)),
        ("HTTPS://WWW.example.com:443", OriginPattern("https", "www.example.com", None)),
        ("http://www.example.com:443", OriginPattern("http", "www.example.com", 443)),
        ("www.example.com:8443", OriginPattern(None, "www.example.com", 8443)),
        ("*.example.com", OriginPattern(None, "example.com", None, below=True)),
        ("localhost:*", OriginPattern(None, "localhost", None, any_port=True)),
        ("http://[0:0::1]:8080", OriginPattern("http", "[::1]", 8080)),
        ("https://bücher.example", OriginPattern("https", "xn--bcher-kva.example", None)),
        ("file://", OriginPattern("file", "", None)),
        ("app://bundle", OriginPattern("app", "bundle", None)),
        ("app://*", OriginPattern("app", "*", None, any_port=True)),
    ],
)
def test_patterns(text: str, pattern: OriginPattern) -> None:
    assert parse_pattern(text) == pattern
    assert parse_pattern(str(pattern)) == pattern


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://www.example.com/chat", "an origin has no path: did you mean https://www.example.com?"),
        ("file:///", "did you mean file://?"),
        ("*", "any alone for every site"),
        ("www.*.com", r"a \* stands for whole labels on the left"),
        ("*.127.0.0.1", "a name after"),
        ("*.[::1]", "an origin such as"),
        ("same-orgin", "did you mean same-origin?"),
        ("https://a.example:0", "a port from 1 to 65535"),
        ("https://a.example:65536", "a port from 1 to 65535"),
        ("wss://a.example", "ws and wss in an Origin count as those"),
        ("app://a b", "an origin such as"),
        ("https://user@a.example", "an origin such as"),
        ("", "an origin such as"),
    ],
)
def test_what_is_no_origin(text: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        parse_pattern(text)


def test_the_words_stand_for_themselves() -> None:
    assert [FORM.convert(text) for text in ("same-origin", "ANY", " null ")] == ["same-origin", "any", "null"]
    assert FORM.convert("https://A.example:443") == "https://a.example"
    assert "did you mean any?" in refused(FORM, "anny")


@pytest.mark.parametrize(("text", "host"), [("A.example", "a.example"), ("[::0001]", "[::1]"), ("a.example.", "a.example.")])
def test_hosts(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize("text", ["", "-a.example", "a..example", "a" * 64, "[::1", "[::1%eth0]", "[x]", "a b", "." * 300, "\ud800"])
def test_what_is_no_host(text: str) -> None:
    assert parse_host(text) is None


def test_ports() -> None:
    assert [parse_port(text) for text in ("1", "65535", "0", "65536", "", "-1", "٣", "8 0")] == [1, 65535, *[None] * 6]


@given(st.text("ab.*:/[]-@#?19 é", max_size=30))
def test_any_text_is_refused_or_reads_back(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except BadValue:
        return
    assert parse_pattern(str(pattern)) == pattern
