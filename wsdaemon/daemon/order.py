"""Where the order of rooms is kept: in this process, or in Redis."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..core.registry import Connections
from ..settings.broker import BrokerKind
from ..settings.model import Settings

if TYPE_CHECKING:
    from .redis import RedisBrokers

NO_REDIS = "redis-py is not installed; expected pip install 'wsdaemon[redis]'"


def redis_brokers(settings: Settings, connections: Connections) -> RedisBrokers | None:
    """The brokers of rooms in Redis, if [broker] asks for them and redis-py is installed. `Resources` reports if it is not."""
    if settings.broker is None or settings.broker.kind is not BrokerKind.REDIS or not has_redis():
        return None
    from .redis import RedisBrokers  # a daemon without Redis loads none of it

    return RedisBrokers(settings, settings.broker, connections)


def has_redis() -> bool:
    """Whether redis-py and hiredis are installed."""
    return all(find_spec(name) is not None for name in ("redis", "hiredis"))
