"""settings/apps.py: each built-in app has a row, and its options are keys of its mounts."""

from __future__ import annotations

import pytest

from wsdaemon.settings.apps import APP_OPTIONS, TickerOptions
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import MountSettings
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.schema import SectionSettings, keys_of


@pytest.mark.parametrize("options", APP_OPTIONS.values(), ids=APP_OPTIONS)
def test_no_option_of_an_app_is_a_key_of_every_mount_and_none_is_required(options: type[SectionSettings]) -> None:
    assert not keys_of(options).keys() & keys_of(MountSettings).keys()
    assert not any(key.required for key in keys_of(options).values())
    assert all(key.help.endswith(".") for key in keys_of(options).values())


def test_defaults_reach_the_mounts_of_that_app_alone() -> None:
    sections = [
        section("listener:a", address="tcp:0"), section("defaults", interval="2s"),
        section("mount:/t", app="ticker"), section("mount:/u", app="ticker", interval=3), section("mount:/e", app="echo"),
    ]  # fmt: skip
    ticker, other, echo = build(sections, "test").mounts
    assert ticker.options == TickerOptions(interval=2.0)
    assert other.options == TickerOptions(interval=3.0)
    assert not hasattr(echo.options, "interval")


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        APP_OPTIONS["mine"] = TickerOptions  # type: ignore[index]
    with pytest.raises(SettingsError, match=r"/m\] app = mine"):
        build([section("listener:a", address="tcp:0"), section("mount:/m", app="mine")], "test")
