"""settings/bridge.py: the options that need or exclude each other."""

from __future__ import annotations

import pytest

from tests.support.forms import HERE
from wsdaemon.settings.bridge import BridgeOptions
from wsdaemon.settings.build import build, section
from wsdaemon.settings.problems import SettingsError


def options(**values: object) -> BridgeOptions:
    sections = [section("listener:a", address="tcp:0"), section("mount:/b/{host}", app="bridge", **values)]
    made = build(sections, "test", HERE).mounts[0].options
    assert isinstance(made, BridgeOptions)
    return made


def test_targets_and_descriptors() -> None:
    made = options(target="tcp:a:1, unix:/run/b")
    assert [str(target) for target in made.target] == ["tcp:a:1", "unix:/run/b"]
    assert made.descriptors(100) == 100
    assert options(tokens="t").tokens == HERE / "t"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "target: missing key"),
        ({"target": "tcp:a:1", "tokens": "t"}, "tokens = t: expected either tokens or target"),
        ({"target": "tcp:{host}:1"}, "target = tcp:{host}:1: expected allow_targets too"),
        ({"target": "tls:a:1", "target_certificate": "c"}, "target_certificate = c: expected target_key too"),
    ],
)
def test_options_that_contradict_each_other(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        options(**values)
    assert message in str(caught.value)
