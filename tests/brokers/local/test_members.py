"""brokers/local/members.py: members, their rooms and patterns, and their costs; deliveries are tested in test_fan and test_memory."""

from __future__ import annotations

from typing import Any

import pytest

from tests.brokers.test_memory import Listener
from wsdaemon.brokers import Limits, budget, errors
from wsdaemon.brokers.local.members import PATTERNS_KEPT, LocalMembers, pattern_cost
from wsdaemon.brokers.local.rooms import LocalRoom


def members(**limits: Any) -> LocalMembers:
    return LocalMembers(Limits(**limits), budget.Budget(1 << 30), lambda member, error: pytest.fail(str(error)))


def test_all_that_a_member_costs_is_given_back() -> None:
    local = members()
    account = local.budget.account("address 192.0.2.1")
    member, room = Listener("a"), LocalRoom("room")
    holder = local.holder(member, account)
    local.enter(room, holder)
    local.enter_pattern("r*", holder)
    cost = budget.MEMBER_BYTES + budget.SUBSCRIPTION_BYTES + pattern_cost("r*")
    assert (local.budget.used, account.bytes, account.patterns) == (cost, cost, 1)
    local.leave(room, holder)
    local.leave_pattern("r*", holder)
    local.drop(holder)
    assert (local.budget.used, account.bytes, account.patterns, local.holders, room.members) == (0, 0, 0, {}, {})


def test_closing_gives_all_back_too() -> None:
    local = members()
    holder = local.holder(Listener("a"), None)
    local.enter(LocalRoom("room"), holder)
    local.enter_pattern("r*", holder)
    local.close()
    assert (local.budget.used, local.holders, len(local.patterns)) == (0, {}, 0)


def test_an_id_belongs_to_one_member() -> None:
    local = members()
    local.enter(LocalRoom("room"), local.holder(Listener("a"), None))
    with pytest.raises(errors.DuplicateMember):
        local.holder(Listener("a"), None)


def test_a_room_keeps_its_list_of_members_unless_most_of_them_come_from_patterns() -> None:
    local, room = members(), LocalRoom("room")
    for number in range(PATTERNS_KEPT + 1):
        assert len(local.targets(room)) == number
        assert room.targets is not None
        local.enter_pattern("*", local.holder(Listener(str(number)), None))
        room.targets = None
    assert len(local.targets(room)) == PATTERNS_KEPT + 1
    assert room.targets is None


def test_limits_of_one_member() -> None:
    local = members(max_subscriptions=1, max_patterns=1)
    holder = local.holder(Listener("a"), None)
    local.check_subscriptions(holder)
    local.check_patterns("a", holder)
    local.enter(LocalRoom("room"), holder)
    local.enter_pattern("a", holder)
    with pytest.raises(errors.TooManySubscriptions):
        local.check_subscriptions(holder)
    with pytest.raises(errors.AlreadySubscribed):
        local.check_patterns("a", holder)
    with pytest.raises(errors.TooManyPatterns):
        local.check_patterns("b", holder)


def test_a_member_that_is_not_there_cannot_leave() -> None:
    local, member = members(), Listener("a")
    with pytest.raises(errors.NotSubscribed):
        local.inside(None, member)
    with pytest.raises(errors.NotSubscribed):
        local.having("a", member)
