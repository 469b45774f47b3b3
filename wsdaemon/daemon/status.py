"""The answer to the command `status`: the daemon, its processes and everything that it serves, in values that JSON knows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..settings.model import Settings
from ..settings.values import app_text
from ..version import __version__

if TYPE_CHECKING:
    from .children import LaunchedChild
    from .generation import Generation


def describe(
    settings: Settings, *, state: str, since: float, ports: Iterable[int | None], connections: int, generation: int = 0,
    workers: Iterable[Mapping[str, Any]] = (), hub: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The whole answer. `since`: when the daemon was started, in seconds since 1970; `ports` are those of the listeners, in their order.

    Without workers the generation is 0, `workers` is empty and `hub` is None.
    """
    return {
        "version": __version__,
        "pid": os.getpid(),
        "generation": generation,
        "state": state,
        "since": since,
        "settings": settings.source,
        "connections": connections,
        "workers": list(workers),
        "hub": hub,
        "listeners": [
            {"name": each.name, "address": str(each.address), "port": port, "tls": each.secure, "mounts": list(each.mounts)}
            for each, port in zip(settings.listeners, ports, strict=True)
        ],
        "mounts": [{"path": each.path, "app": app_text(each.app)} for each in settings.mounts],
    }


def describe_generation(generation: Generation, started: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The hub and the workers of a generation. `started`: see `describe_child`."""
    slots, number = generation.heartbeats.slots, generation.number
    workers = [describe_child(each.number, number, each.child, slots[each.number].connections, started) for each in generation.workers]
    return describe_child(0, number, generation.hub.child, 0, started), workers


def describe_child(
    number: int, generation: int, child: LaunchedChild | None, connections: int, started: float
) -> dict[str, Any]:  # fmt: skip
    """One child of the supervisor. `started`: the time since 1970 at which the clock of `ready_since` was 0."""
    ready = None if child is None or child.ready_since is None else child.ready_since + started
    state = "ended" if child is None else "starting" if ready is None else "ready"
    return {
        "number": number, "pid": None if child is None else child.process.pid, "generation": generation, "state": state,
        "connections": connections, "ready_since": ready,
    }  # fmt: skip
