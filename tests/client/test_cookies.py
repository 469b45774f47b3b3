"""Cookies from the user and from servers."""

from __future__ import annotations

import pytest

from wsdaemon.client.cookies import MAX_COOKIES, Cookies
from wsdaemon.client.target import parse
from wsdaemon.core.handshake import Headers

HERE = parse("wss://www.example.com/app/socket")


def setting(*values: str) -> Headers:
    return Headers([(b"Set-Cookie", value.encode()) for value in values])


def test_given_cookies_are_sent_to_the_own_origin_alone() -> None:
    cookies = Cookies({"session": "abc", "theme": "dark"})
    assert cookies.header(HERE, own=True) == "session=abc; theme=dark"
    assert cookies.header(parse("wss://other.example/"), own=False) == ""


def test_a_servers_cookies_are_kept_and_replace_given_ones() -> None:
    cookies = Cookies({"session": "old"})
    cookies.keep(HERE, setting("session=new; Path=/; HttpOnly", "node=7"))
    assert set(cookies.header(HERE, own=True).split("; ")) == {"session=new", "node=7"}


def test_cookies_keep_to_their_domain_path_and_security() -> None:
    cookies = Cookies({})
    elsewhere = "d=4; Domain=evil.example; Path=/"
    cookies.keep(HERE, setting("a=1; Domain=example.com; Path=/", "b=2; Path=/other", "c=3; Secure; Path=/", elsewhere))
    assert set(cookies.header(HERE, own=True).split("; ")) == {"a=1", "c=3"}
    assert cookies.header(parse("ws://api.example.com/"), own=False) == "a=1"
    assert cookies.header(parse("wss://evil.example/"), own=False) == ""


def test_a_cookie_that_has_expired_is_not_sent() -> None:
    cookies = Cookies({})
    cookies.keep(HERE, setting("a=1; Path=/; Max-Age=0"))
    assert cookies.header(HERE, own=True) == ""


def test_a_server_cannot_fill_the_memory() -> None:
    cookies = Cookies({})
    for round_ in range(5):
        cookies.keep(HERE, setting(*[f"n{round_}_{number}=1; Path=/" for number in range(MAX_COOKIES)]))
    assert len(cookies.header(HERE, own=True).split("; ")) <= 2 * MAX_COOKIES


@pytest.mark.parametrize("bad", [{"a b": "1"}, {"a": "1; b=2"}, {"a": "1\r\nX: y"}, {"": "1"}], ids=repr)
def test_a_cookie_that_is_none_is_refused(bad: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="cookie"):
        Cookies(bad)
