"""daemon/coming.py: the switch between two hubs, as the generation that comes sees it. test_next_generation.py has the whole upgrade."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from wsdaemon.daemon import coming
from wsdaemon.daemon.coming import Coming
from wsdaemon.daemon.parts import StartError


class Hub:
    """The keeper of a hub, and the messages that it was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.child: Any = SimpleNamespace(channel=self)

    def send(self, kind: str) -> None:
        self.sent.append(kind)


class Made:
    """A generation."""

    def __init__(self) -> None:
        self.hub, self.number, self.workers, self.ready = Hub(), 2, [1, 2], False
        self.calls: list[str] = []

    def try_once(self) -> None:
        self.calls.append("try once")

    def succeed(self, former: object) -> None:
        self.calls.append("succeed")

    def start(self) -> None:
        self.calls.append("start")

    def link_workers_of(self, former: object) -> None:
        self.calls.append("link")

    async def kill(self) -> None:
        self.calls.append("kill")

    def close(self) -> None:
        self.calls.append("close")


def make() -> tuple[Coming, Any, Any]:
    new, former = Made(), Made()
    plan: Any = None
    of: Any = new
    old: Any = former
    return Coming(of, plan, old, asyncio.get_running_loop()), new, former


def test_the_order_moves_once_all_are_ready() -> None:
    async def life() -> None:
        one, new, former = make()
        one.start()
        ready = asyncio.ensure_future(one.until_ready())
        one.became_ready()
        await asyncio.sleep(0)
        assert not ready.done()
        new.ready = True
        one.became_ready()
        await ready
        switching = asyncio.ensure_future(one.switch_order())
        await asyncio.sleep(0)
        assert former.hub.sent == ["switch"]
        one.order_changed(former, {"kind": "succession", "owner": False, "reason": ""})
        one.order_changed(new, {"kind": "succession", "owner": True, "reason": ""})
        await switching
        one.gave_up("worker 1 was ready, and then ended")  # too late: its generation serves
        assert new.calls == ["try once", "succeed", "start", "link"]

    asyncio.run(life())


@pytest.mark.parametrize("case", ["kept", "not taken", "dead", "silent"])
def test_the_former_hub_keeps_the_order(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coming, "SWITCH_SECONDS", 0.0 if case == "silent" else 30.0)
    reasons = {
        "kept": "the new hub has not taken over the rooms: too late",
        "not taken": "the new hub has not taken over the rooms: another version",
        "dead": "the former hub has ended and is started again",
        "silent": "the new hub has not taken over the rooms: the hubs have not switched within 0 s",
    }  # fmt: skip

    async def life() -> None:
        one, new, former = make()
        if case == "kept":
            one.order_changed(former, {"kind": "succession", "owner": True, "reason": "too late"})
        elif case == "not taken":
            one.order_changed(new, {"kind": "succession", "owner": False, "reason": "another version"})
        elif case == "dead":
            former.hub.child = None
        with pytest.raises(StartError) as failed:
            await one.switch_order()
        assert str(failed.value) == reasons[case]
        await one.take_back()
        assert new.calls == ["kill", "close"]
        assert former.hub.sent == {"kept": ["keep"], "not taken": ["keep"], "dead": [], "silent": ["switch", "keep"]}[case]

    asyncio.run(life())


def test_a_child_that_does_not_start_ends_it() -> None:
    async def life() -> None:
        one, _, _ = make()
        one.gave_up("worker 1 did not start")
        with pytest.raises(StartError, match="worker 1 did not start"):
            await one.until_ready()

    asyncio.run(life())
