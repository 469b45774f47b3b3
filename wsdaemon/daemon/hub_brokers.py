"""The rooms of a worker, whose order the hub keeps."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from twisted.logger import Logger

from ..brokers import Limits
from ..brokers.contract import Broker, BrokerMaker
from ..brokers.remote import RemoteBroker
from ..hub.client import HubClient
from ..hub.link import HubLinks
from ..settings.model import MountSettings

TIMEOUT_SECONDS: Final = 2.0
"""How long a question to the hub, and a publication, may take. The supervisor replaces a hub that has died within a second."""

log = Logger(namespace="wsdaemon.hub")


def make_client(worker: int, generation: int, loop: asyncio.AbstractEventLoop) -> HubClient:
    """This worker's link to the hub; nothing is attached to it yet."""
    return HubClient(worker, generation, loop, _report)


class HubBrokers:
    """Chooses the broker of each mount: a `daemon.brokers.Brokers`."""

    def __init__(self, client: HubClient) -> None:
        self._links = HubLinks(client, _report)

    def __call__(self, settings: MountSettings, limits: Limits) -> BrokerMaker:
        path = settings.path

        def make(failed: Any, *, loop: Any, later: Any, bulk: Any, held: Any, clock: Any, grace: Any) -> Broker:
            return RemoteBroker(
                limits, self._links.make(path, limits), failed, loop=loop, later=later, bulk=bulk, held=held, clock=clock, grace=grace,
                timeout=TIMEOUT_SECONDS,
            )  # fmt: skip

        return make


def _report(line: str) -> None:
    log.warn("{line}", line=line)
