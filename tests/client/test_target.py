"""URLs of servers, taken apart and put together."""

from __future__ import annotations

import pytest

from wsdaemon.client.target import Target, parse, redirected


def test_a_url_is_taken_apart() -> None:
    assert parse("ws://example.com") == Target(False, "example.com", 80, "/")
    assert parse("wss://Example.com:8443/a/b?c=d%20e") == Target(True, "example.com", 8443, "/a/b?c=d%20e")
    assert parse("https://example.com/x") == Target(True, "example.com", 443, "/x")


def test_the_authority_leaves_out_the_usual_port() -> None:
    assert parse("ws://example.com:80/").authority == "example.com"
    assert parse("wss://example.com:80/").authority == "example.com:80"
    assert parse("ws://[::1]:9000/").authority == "[::1]:9000"


def test_names_and_paths_in_other_scripts_are_encoded() -> None:
    assert parse("ws://bücher.example/ä b?ö".replace(" ", "%20")) == Target(False, "xn--bcher-kva.example", 80, "/%C3%A4%20b?%C3%B6")


def test_a_name_and_password_are_kept_out_of_the_text() -> None:
    target = parse("ws://ada:secret@example.com/")
    assert target.userinfo == ("ada", "secret")
    assert "secret" not in str(target)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("example.com", "ws://"), ("ftp://example.com/", "ws://"), ("ws:///path", "no host"), ("ws://a/#b", "fragment"),
        ("ws://a/ b", "blanks"),
        ("ws://a/\r\nX: y", "control"), ("ws://a:99999/", "ort"), ("ws://a:x/", "ort"), ("ws://" + "ü" * 70 + "/", "name"),
    ],
)  # fmt: skip
def test_a_bad_url_says_why(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(url)


def test_addresses_need_no_dns() -> None:
    assert parse("ws://127.0.0.1/").is_address
    assert parse("ws://[::1]/").is_address
    assert not parse("ws://localhost/").is_address


def test_redirects_are_followed_relative_to_the_url() -> None:
    target = parse("ws://a.example/x/y?z")
    assert str(redirected(target, "/other")) == "ws://a.example/other"
    assert str(redirected(target, "w?q=1")) == "ws://a.example/x/w?q=1"
    assert str(redirected(target, "https://b.example/")) == "wss://b.example/"
    assert str(redirected(target, "wss://b.example/#part")) == "wss://b.example/"
    with pytest.raises(ValueError, match="ws://"):
        redirected(target, "mailto:ada@example.com")
