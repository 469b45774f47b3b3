"""settings/proxy.py: the URLs of WebSocket servers."""

from __future__ import annotations

import pytest

from tests.support.forms import HERE, refused
from wsdaemon.settings.build import build, section
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.proxy import ProxyOptions, ProxyTarget, ProxyTargetForm


def options(**values: object) -> ProxyOptions:
    sections = [section("listener:a", address="tcp:0"), section("mount:/p/{room}", app="proxy", **values)]
    made = build(sections, "test", HERE).mounts[0].options
    assert isinstance(made, ProxyOptions)
    return made


@pytest.mark.parametrize(
    ("text", "target", "authority"),
    [
        ("ws://h", ProxyTarget(False, "h", 80), "h"),
        ("wss://Chat.example.com/a/b?x=1", ProxyTarget(True, "chat.example.com", 443, "/a/b", "x=1"), "chat.example.com"),
        ("ws://[::1]:9000/", ProxyTarget(False, "::1", 9000, "/"), "[::1]:9000"),
        ("wss://10.0.0.1:80/{room}", ProxyTarget(True, "10.0.0.1", 80, "/{room}"), "10.0.0.1:80"),
    ],
)
def test_targets(text: str, target: ProxyTarget, authority: str) -> None:
    form = ProxyTargetForm()
    assert form.convert(text) == target
    assert target.authority == authority
    assert form.convert(form.show(target)) == target
    assert form.convert(target) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "h:9000", "http://h", "ws://", "ws://h:0", "ws://h:99999", "ws://h:x", "ws://u:p@h", "ws://h/#a", "ws://h/a b", "ws://h/{a",
        "ws://h/../x", "ws://[::g]/", "ws://h/{1}", "ws://h_/\n",
    ],
)  # fmt: skip
def test_targets_that_are_refused(text: str) -> None:
    assert "expected" in refused(ProxyTargetForm(), text)


def test_a_hint_for_http() -> None:
    assert refused(ProxyTargetForm(), "https://h/x").endswith("did you mean wss://h/x?")


def test_parameters_of_the_path() -> None:
    target = ProxyTargetForm().convert("ws://h/rooms/{room}/x")
    assert target.placeholders == ("room",)
    assert target.filled_path({"room": "a b/%"}) == "/rooms/a%20b%2F%25/x"


def test_options() -> None:
    made = options(target="ws://a, ws://b")
    assert [each.host for each in made.target] == ["a", "b"]
    assert made.descriptors(7) == 7
    for values, message in (({}, "target: missing key"), ({"target": "wss://a", "target_certificate": "c"}, "expected target_key too")):
        with pytest.raises(SettingsError, match=message):
            options(**values)
