"""The settings of a client."""

from __future__ import annotations

import pytest

from wsdaemon.settings.client import ClientSettings, ReconnectForm, client_settings
from wsdaemon.settings.model import MountSettings
from wsdaemon.settings.problems import BadValue, SettingsError
from wsdaemon.settings.schema import keys_of


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1s-60s", (1.0, 60.0)), ("500ms-5m", (0.5, 300.0)), ("off", None), ("on", (1.0, 60.0)), (False, None), (True, (1.0, 60.0)),
        (None, None), ((2, 30), (2.0, 30.0)), ((0.5, "1m"), (0.5, 60.0)), ("1s - 60s", (1.0, 60.0)),
    ],
)  # fmt: skip
def test_ranges_of_delays(value: object, expected: object) -> None:
    assert ReconnectForm().convert(value) == expected


@pytest.mark.parametrize("value", ["", "1s", "60s-1s", "0-60s", "1-60", "a-b", 5, (1,), (1, 2, 3), "1s-60s-90s"], ids=repr)
def test_values_that_are_no_range(value: object) -> None:
    with pytest.raises(BadValue):
        ReconnectForm().convert(value)


@pytest.mark.parametrize("value", [None, (1.0, 60.0), (0.25, 90.0)])
def test_a_range_is_shown_as_it_is_read(value: tuple[float, float] | None) -> None:
    form = ReconnectForm()
    assert form.parse(form.show(value)) == value


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        client_settings({"reconnect": "soon", "queue": "grow", "conect_timeout": 5, "max_message": -1})
    assert [problem.key for problem in caught.value.problems] == ["reconnect", "queue", "conect_timeout", "max_message"]
    assert "did you mean connect_timeout?" in str(caught.value)


def test_equal_settings_are_one_object() -> None:
    assert client_settings({"ping_interval": "5s"}) is client_settings({"ping_interval": 5.0})


def test_names_that_a_mount_has_too_have_its_forms() -> None:
    ours, theirs = keys_of(ClientSettings), keys_of(MountSettings)
    for name in ours.keys() & theirs.keys():
        assert ours[name].form == theirs[name].form, name
        assert ours[name].default == theirs[name].default, name


def test_the_wire_looks_up_the_clients_values() -> None:
    wire = client_settings({"ping_interval": "5s", "max_message": "2MiB", "close_timeout": "1s"}).on_the_wire()
    assert (wire.ping_interval, wire.max_message, wire.close_timeout, wire.on_disconnect) == (5.0, 2 << 20, 1.0, "finish")
