"""edge/hosts.py: what a listener may be called, and that DNS rebinding gets nowhere where it is listed."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.admission import ADA, Chain, Door
from tests.support.fakes import House, request
from wsdaemon.core.handshake import Peer
from wsdaemon.edge.forwarded import Networks
from wsdaemon.edge.hosts import Hosts
from wsdaemon.edge.limits import AddressLimits
from wsdaemon.edge.origins import Origins
from wsdaemon.edge.site import ReadyPage
from wsdaemon.settings.build import build, section
from wsdaemon.settings.ini import load
from wsdaemon.settings.network import ReachedHostForm
from wsdaemon.settings.problems import BadValue, SettingsError


def hosts(*listed: str) -> Hosts:
    """As a listener has them."""
    settings = build([section("listener:a", address="tcp:0", hosts=listed), section("mount:/", app="echo")], "x")
    return Hosts.parse(settings.listeners[0].hosts)


LISTED = ("www.example.com", "*.example.org", "bücher.example", "localhost", "192.0.2.7", "2001:DB8:0::7", "[::1]")


@pytest.mark.parametrize(
    "host",
    [
        "www.example.com", "WWW.Example.COM", "www.example.com:8080", "www.example.com:", "www.example.com.", "www.example.com.:80",
        "a.example.org", "a.b.Example.org:9", "xn--bcher-kva.example", "localhost", "localhost:3000", "192.0.2.7", "192.0.2.7:80",
        "[2001:db8::7]", "[2001:0db8:0:0::7]:8080", "[::1]:80",
    ],
)  # fmt: skip
def test_what_is_listed_is_served(host: str) -> None:
    assert hosts(*LISTED).serves(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "example.com", "a.www.example.com", "example.org", "evilexample.org", ".example.org",
        "a..example.org", "www.example.com.evil.example", "www.example.com@evil.example", "", ":80", "192.0.2.8", "127.0.0.1", "[::2]",
        "[::1", "::1", "0xc0.0.2.7", "www.example.com:x", "www.example.com..", "*.example.org", "[::ffff:192.0.2.7]",
    ],
)  # fmt: skip
def test_what_is_not_listed_is_not(host: str) -> None:
    assert not hosts(*LISTED).serves(host)


@given(st.text(string.ascii_letters + string.digits + ".-:[]*_~é", max_size=30))
def test_no_host_breaks_the_check(host: str) -> None:
    served = hosts(*LISTED).serves(host)
    name = host.lower().partition(":")[0].removesuffix(".")
    if not host.startswith("[") and served:
        assert name in LISTED or name.endswith(".example.org") or name in ("bücher.example", "xn--bcher-kva.example")


# -- the gate


def test_a_page_of_a_rebound_name_may_not_connect(made: House) -> None:
    evil = request("/chat", host="evil.example:8080", origin="http://evil.example:8080")
    origins, chain = Origins.parse(["same-origin"]), Chain(lambda request: ADA)
    assert Door(made, origins=origins, chain=chain).arrive(evil).status == 101  # the check of origins sees nothing wrong
    door = Door(made, origins=origins, chain=chain, hosts=hosts("ws.example.com"))
    visitor = door.arrive(evil)
    assert visitor.answer.startswith("HTTP/1.1 421 Misdirected Request\r\n") and "Content-Type: text/plain" in visitor.answer
    assert "evil" not in visitor.answer and visitor.transport.eof_written
    assert door.arrive(request("/chat", host="ws.example.com:8080", origin="http://ws.example.com:8080")).status == 101
    assert door.gate.refused == {"misdirected": 1}
    assert len(chain.requests) == 2


def test_named_origins_keep_it_off_too(made: House) -> None:
    door = Door(made, origins=Origins.parse(["http://ws.example.com:8080"]))
    assert door.arrive(request("/chat", host="evil.example:8080", origin="http://evil.example:8080")).status == 403


@pytest.mark.parametrize("path", ["/chat", "/elsewhere", "/page"])
def test_plain_http_is_asked_for_its_host_as_well(made: House, path: str) -> None:
    page = ReadyPage(b"", "text/plain", ())
    door = Door(made, hosts=hosts("ws.example.com"), pages=lambda head: page if head.path == "/page" else None)
    assert door.arrive(f"GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n".encode()).status == 421
    expected = {"/chat": 426, "/elsewhere": 404, "/page": 200}[path]
    assert door.arrive(f"GET {path} HTTP/1.1\r\nHost: ws.example.com\r\n\r\n".encode()).status == expected


def test_who_is_misdirected_leaves_no_handshake_behind(made: House) -> None:
    proxies = Networks.parse("10.0.0.0/8")
    limits = AddressLimits(max_connections=0, max_handshakes=1, per_second=0, exempt=proxies)
    door = Door(made, hosts=hosts("ws.example.com"), limits=limits, trusted=proxies)
    for _ in range(2):
        visitor = door.arrive(request("/chat", host="evil.example", x_forwarded_for="192.0.2.7"), Peer("10.0.0.1", 1))
        assert visitor.status == 421
        visitor.transport.lose()
    assert len(limits.handshakes) == 0


# -- the settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("WWW.Example.com.", "www.example.com"), ("*.example.com", "*.example.com"), ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"), ("::1", "[::1]"), ("[2001:DB8:0::1]", "[2001:db8::1]"),
    ],
)  # fmt: skip
def test_a_host(text: str, value: str) -> None:
    assert ReachedHostForm().parse(text) == value
    assert ReachedHostForm().parse(value) == value


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "a.*.example", "https://example.com", "-a.example", "a b", "a" * 64, "1.2.3", "*.0.0.1", "7", "0x7f.1", "192.0.2.07",
        "[192.0.2.7]", "fe80::1%eth0", "[::1", "::1]", ":80", "[::1]:80", ":::",
    ],
)  # fmt: skip
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(BadValue, match=r"www\.example\.com or \*\.example\.com, and IP addresses"):
        ReachedHostForm().parse(text)


def test_a_port_is_told_to_be_too_much(tmp_path: Path) -> None:
    (tmp_path / "ws.ini").write_text("[listener:a]\naddress = tcp:0\nhosts = www.example.com:8080, ::1\n[mount:/]\napp = echo\n")
    with pytest.raises(SettingsError, match="ports are not compared"):
        load(tmp_path / "ws.ini")
