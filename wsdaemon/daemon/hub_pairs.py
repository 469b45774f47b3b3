"""The supervisor's part in the links between the hub and the workers: it makes their socketpairs."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class HubPairs:
    """The socketpairs between the hub and each worker. Both ends wait here until their process begins."""

    def __init__(self, workers: int) -> None:
        self._for_hub: dict[int, socket.socket] = {}
        self._for_worker: dict[int, socket.socket] = {}
        for number in range(1, workers + 1):
            self.connect(number)

    def connect(self, number: int) -> tuple[socket.socket, socket.socket]:
        """A new socketpair for worker `number`: the hub's end, and the worker's. Ends of before that still wait are closed."""
        for ends in (self._for_hub, self._for_worker):
            if number in ends:
                ends.pop(number).close()
        self._for_hub[number], self._for_worker[number] = socket.socketpair()
        return self._for_hub[number], self._for_worker[number]

    @property
    def for_hub(self) -> Mapping[int, socket.socket]:
        """Ends that wait for a hub, by worker."""
        return self._for_hub

    @property
    def for_worker(self) -> Mapping[int, socket.socket]:
        """Ends that wait for their worker."""
        return self._for_worker

    def hub_has(self, number: int) -> None:
        """The hub has inherited its end."""
        self._for_hub.pop(number).close()

    def worker_has(self, number: int) -> None:
        self._for_worker.pop(number).close()

    def close(self) -> None:
        for ends in (self._for_hub, self._for_worker):
            while ends:
                ends.popitem()[1].close()
