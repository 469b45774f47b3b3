"""apps/rooms/hooks.py: a policy is known by the methods that it has."""

from __future__ import annotations

import pytest

from wsdaemon.apps.rooms.hooks import EnterHook, EnterPatternHook, PublishHook
from wsdaemon.apps.rooms.policy import Policy

HOOKS = {"enter": EnterHook, "enter_pattern": EnterPatternHook, "publish": PublishHook}


@pytest.mark.parametrize("name", HOOKS)
def test_each_method_alone_makes_a_policy(name: str) -> None:
    hooks = type("Hooks", (), {name: lambda self, visitor, room, message=None: True})()
    assert [isinstance(hooks, hook) for hook in HOOKS.values()] == [name == other for other in HOOKS]
    Policy(hooks, 1.0, lambda connection, doing, error: None)


def test_an_object_with_none_of_them_is_no_policy() -> None:
    with pytest.raises(TypeError, match="at least one of the methods enter, enter_pattern and publish"):
        Policy(object(), 1.0, lambda connection, doing, error: None)
