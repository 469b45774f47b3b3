"""settings/daemon.py: the sections [daemon] and [logging]."""

from __future__ import annotations

import pytest

from wsdaemon.settings.build import build, section
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.model import Settings
from wsdaemon.settings.problems import SettingsError


def settings(name: str, **values: object) -> Settings:
    return build([section(name, **values), section("listener:web", address="tcp:0"), section("mount:/echo", app="echo")], "ws.ini")


def test_both_sections_may_be_missing() -> None:
    made = settings("defaults")
    assert (made.daemon, made.logging) == (DaemonSettings(), LoggingSettings())


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("daemon", "workers", "0"), ("daemon", "max_connections", "none"), ("daemon", "drain_retry", "9s-1s"),
        ("logging", "level", "loud"), ("logging", "format", "xml"), ("logging", "access_format", "{nothing}"),
    ],
)  # fmt: skip
def test_values_that_are_none_are_told_by_section_and_key(name: str, key: str, value: str) -> None:
    with pytest.raises(SettingsError) as raised:
        settings(name, **{key: value})
    [problem] = raised.value.problems
    assert f"[{name}] {key}" in str(problem)
