"""settings/model.py: safe defaults, values that contradict each other, and what equality looks at."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from wsdaemon.settings.build import build, section
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.listener import CONNECTION_LIMITS
from wsdaemon.settings.model import ListenerSettings, MountSettings, Settings, TlsSettings
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.schema import keys_of

CLASSES = (DaemonSettings, LoggingSettings, MountSettings, ListenerSettings, TlsSettings)


def settings(**mount: object) -> Settings:
    return build([section("listener:web", address="tcp:0"), section("mount:/", app="echo", **mount)], "test")


def refusal(**mount: object) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**mount)
    return str(caught.value)


def test_what_a_client_may_do_is_bounded_by_default() -> None:
    mount = settings().mounts[0]
    assert mount.origins == ("same-origin",)
    assert mount.slow_client == "close"
    for key in ("max_message", "max_fragments", "send_backlog", "send_backlog_age", "control_frames_per_second", "ping_interval"):
        assert getattr(mount, key) > 0, key
    assert settings().daemon.max_connections > 0


def test_no_page_and_every_page_are_said_clearly_or_not_at_all() -> None:
    assert "expected at least one origin; any lets every site in" in refusal(origins="")
    assert "expected any alone: it lets every site in" in refusal(origins="any, https://a.example")
    assert settings(origins="any").mounts[0].origins == ("any",)


@pytest.mark.parametrize(
    ("key", "value"),
    [("compression_level", 10), ("compression_window_bits", 8), ("compression_memory_level", 0), ("ping_timeout", 0), ("max_message", 0)],
)
def test_numbers_out_of_their_range(key: str, value: int) -> None:
    assert f"[mount:/] {key} = {value}: expected" in refusal(**{key: value})


@pytest.mark.parametrize("settings_class", CLASSES)
def test_every_key_is_explained_in_whole_sentences(settings_class: type) -> None:
    for key in keys_of(settings_class).values():
        assert key.help[0].isupper() or key.help.split(":")[0].islower(), key.name
        assert key.help.endswith("."), key.name
        assert not key.required or key.example, f"{key.name}: the reference needs an example"


def test_a_limit_of_a_connection_has_one_form_on_listeners_and_mounts() -> None:
    listener, mount = keys_of(ListenerSettings), keys_of(MountSettings)
    for name in CONNECTION_LIMITS:
        assert type(listener[name].form) is type(mount[name].form), name


def test_settings_are_values() -> None:
    one = settings()
    assert one == replace(one, source="elsewhere", warnings=("look",))
    assert one != settings(max_message=5)
    with pytest.raises(FrozenInstanceError):
        one.mounts[0].max_message = 1  # type: ignore[misc]
