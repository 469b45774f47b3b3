"""settings/targets.py: addresses of servers, patterns of allowed ones, and websockify's files."""

from __future__ import annotations

import pytest

from tests.support.forms import refused
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.targets import AllowedForm, ServerNameForm, StreamTarget, StreamTargetForm, parse_stream, parse_tokens


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("tcp:localhost:5900", StreamTarget("tcp", "localhost", "5900")),
        ("tls:db.example.com:6432", StreamTarget("tls", "db.example.com", "6432")),
        ("tcp:[2001:DB8::1]:22", StreamTarget("tcp", "2001:db8::1", "22")),
        ("unix:/run/x y.sock", StreamTarget("unix", path="/run/x y.sock")),
        ("tcp:{host}:{port}", StreamTarget("tcp", "{host}", "{port}")),
    ],
)
def test_targets(text: str, target: StreamTarget) -> None:
    form = StreamTargetForm()
    assert form.convert(text) == target
    assert form.convert(form.show(target)) == target
    assert form.convert(target) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "localhost:5900", "tcp:", "tcp:host", "tcp:host:", "tcp:host:0", "tcp:host:65536", "tcp:host:x", "tcp::1", "tcp:::1:5900",
        "tcp:[::g]:1", "tcp:[host]:1", "udp:host:1", "unix:run/x", f"unix:/{'x' * 107}", "tcp:a b:1", "tcp:{a}b:1", "tcp:{}:1", "tcp:-x:1",
    ],
)  # fmt: skip
def test_targets_that_are_refused(text: str) -> None:
    assert refused(StreamTargetForm(), text).startswith("expected tcp:HOST:PORT")


def test_placeholders() -> None:
    target = parse_stream("tcp:{host}:{port}")
    assert target.placeholders == ("host", "port")
    assert target.filled({"host": "10.0.0.1", "port": "22", "x": ""}) == parse_stream("tcp:10.0.0.1:22")
    assert target.filled({"host": "::1", "port": "22"}) == parse_stream("tcp:[::1]:22")
    fixed = parse_stream("unix:/run/x")
    assert fixed.filled({}) is fixed
    for host, port in (("a b", "1"), ("a", "x"), ("", "1"), ("{host}", "1x"), ("a/../b", "1"), ("a:b", "1"), ("x\n", "1"), ("x", "٣")):
        with pytest.raises(BadValue):
            target.filled({"host": host, "port": port})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.0.0.0/8:5900-5999", "10.0.0.0/8:5900-5999"), ("127.0.0.1:22", "127.0.0.1:22"), ("[2001:db8::/32]:*", "[2001:db8::/32]:*"),
        ("VNC.example.com:5900", "vnc.example.com:5900"), ("*.example.com:*", "*.example.com:*"), ("*:22", "*:22"),
    ],
)  # fmt: skip
def test_allowed_targets(text: str, shown: str) -> None:
    form = AllowedForm()
    made = form.convert(text)
    assert form.show(made) == shown
    assert form.convert(shown) == made
    assert form.convert(made) == made


REFUSED = ["", "host", "host:", "host:0", "host:9-5", "host:70000", "10.0.0.1/8:1", "10.0.0.999:1", "[host]:1", "a.*:1"]


@pytest.mark.parametrize("text", REFUSED)
def test_allowed_targets_that_are_refused(text: str) -> None:
    assert refused(AllowedForm(), text).startswith("expected targets such as")


def test_what_is_allowed() -> None:
    network, name, below, every = (AllowedForm().convert(text) for text in ("10.0.0.0/8:20-22", "a.example:1", "*.b.example:*", "*:1"))
    assert [network.has_port(port) for port in (19, 20, 22, 23)] == [False, True, True, False]
    assert network.has_address("10.1.2.3")
    assert network.has_address("::ffff:10.1.2.3")
    assert not network.has_address("11.0.0.1")
    assert not network.has_name("10.1.2.3")
    assert not name.has_address("10.1.2.3")
    assert name.has_name("A.example.")
    assert [below.has_name(host) for host in ("x.b.example", "b.example", "xb.example")] == [True, False, False]
    assert every.has_name("anything")


def test_files_of_tokens() -> None:
    text = "# desks\n\n one:  10.0.0.1:5901 \ntwo: tls:h:1\nthree: [::1]:5\nfour: unix_socket:/run/x\nfive: unix:/run/y\n"
    assert {token: str(target) for token, target in parse_tokens(text).items()} == {
        "one": "tcp:10.0.0.1:5901", "two": "tls:h:1", "three": "tcp:[::1]:5", "four": "unix:/run/x", "five": "unix:/run/y",
    }  # fmt: skip
    for line in ("x", "x:", ": h:1", "secret: h", "secret: h:x", "secret: tcp:{x}:1"):
        with pytest.raises(BadValue, match="line 2") as caught:
            parse_tokens(f"a: h:1\n{line}\n")
        assert "secret" not in str(caught.value)


def test_server_names() -> None:
    assert [ServerNameForm().convert(text) for text in ("", "db.example.com")] == ["", "db.example.com"]
    assert refused(ServerNameForm(), "a b").startswith("expected a host name")
