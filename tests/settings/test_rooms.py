"""settings/rooms.py: the options of the app rooms that no other section has."""

from __future__ import annotations

import re

import pytest

from tests.support.forms import refused
from wsdaemon.settings.build import build, section
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.rooms import HooksForm, RegularExpressionForm, RoomsOptions, hooks_text

EXPRESSION = RegularExpressionForm()
HOOKS = HooksForm()


class Policy:
    """Stands for a user's policy."""


def options(**values: object) -> RoomsOptions:
    found = build([section("listener:a", address="tcp:0"), section("mount:/r", app="rooms", **values)], "test").mounts[0].options
    assert isinstance(found, RoomsOptions)
    return found


def test_a_regular_expression_is_compiled_once() -> None:
    compiled = re.compile("[a-z]+")
    assert EXPRESSION.convert("[a-z]+") == EXPRESSION.convert(compiled) == compiled
    assert EXPRESSION.show(compiled) == "[a-z]+"


@pytest.mark.parametrize("value", ["", "[a-z", "(", "a{9999999999}", 5, re.compile(b"bytes"), None])
def test_what_is_no_regular_expression(value: object) -> None:
    assert refused(EXPRESSION, value).startswith("expected a regular expression such as [a-z0-9.-]+")


def test_a_policy_is_a_name_or_the_object_itself() -> None:
    policy = Policy()
    assert HOOKS.convert("") is None
    assert HOOKS.convert("module:Class") == "module:Class"
    assert HOOKS.convert(policy) is policy
    assert HOOKS.convert(Policy) is Policy
    assert refused(HOOKS, "Policy") == "expected module:Class, or nothing"
    assert (hooks_text(None), hooks_text("a:B"), hooks_text(policy)) == ("", "a:B", f"{__name__}:Policy")


def test_no_room_may_have_a_blank_name_by_default() -> None:
    names = options().room_names
    assert names.fullmatch("prices.eur") and names.fullmatch("é")
    assert not any(names.fullmatch(name) for name in ("", " ", "a b", "a\n", "\x7f"))


def test_a_mount_has_these_options_only_where_it_runs_rooms() -> None:
    assert options(history=5, latest=True, publish="server").history == 5
    with pytest.raises(SettingsError, match="history"):
        build([section("listener:a", address="tcp:0"), section("mount:/e", app="echo", history=5)], "test")
