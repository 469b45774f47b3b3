"""From the settings of a mount with `app = rooms` to the app and its broker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

from ..apps.loading import LoadError, load
from ..apps.rooms import RoomsApp, RoomsRules, SendToAll
from ..brokers import Limits
from ..brokers.contract import BrokerMaker
from ..brokers.memory import MemoryBroker
from ..core.contract import Failed
from ..settings.model import MountSettings
from ..settings.paths import parameters
from ..settings.rooms import RoomsOptions, hooks_text
from ..wire import fan


class Brokers(Protocol):
    """Chooses the broker of each mount with rooms."""

    def __call__(self, settings: MountSettings, limits: Limits) -> BrokerMaker: ...


def memory_brokers(settings: MountSettings, limits: Limits) -> BrokerMaker:
    """One process: it keeps the order of its rooms itself."""
    return partial(MemoryBroker, limits)


def make_rooms(
    settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: Brokers | None = None
) -> RoomsApp:  # fmt: skip
    """The app rooms, with the user's policy. LoadError if the policy cannot be loaded."""
    options: Any = settings.options or RoomsOptions()
    rules = RoomsRules(
        publish=options.publish,
        echo_to_sender=options.echo_to_sender,
        parameters=parameters(settings.path),
        drops_messages=settings.slow_client.drops,
        waits=settings.slow_client.waits,
        one_at_a_time=bool(options.room_messages_per_second),
        send_backlog=settings.send_backlog,
        hook_timeout=options.hook_timeout,
        requests_per_second=options.requests_per_second,
    )
    limits = Limits(
        max_rooms=options.max_rooms,
        max_members=options.max_members,
        max_subscriptions=options.max_subscriptions,
        max_patterns=options.max_patterns,
        name_pattern=options.room_names,
        history=options.history or (None if options.history_age else 0),
        history_age=options.history_age or None,
        history_bytes=options.history_bytes,
        latest=options.latest,
        rate=options.room_messages_per_second or None,
        burst=options.room_messages_per_second * 2 or 1,
        room_idle=options.room_idle,
        memory=options.memory,
        inline=0,  # messages of one read leave together, in the loop's next turn
    )
    hooks = load(options.policy, "policy") if isinstance(options.policy, str) else options.policy
    try:
        made = hooks() if isinstance(hooks, type) else hooks
        make_broker = (brokers or memory_brokers)(settings, limits)
        return RoomsApp(rules, make_broker, cast("SendToAll", fan.send_to_all), failed, made, grace=grace)
    except Exception as error:
        raise LoadError(hooks_text(options.policy), f"{type(error).__name__}: {error}", "policy") from error
