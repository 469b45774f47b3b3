"""The socketpairs between the hub and the workers."""

from __future__ import annotations

import socket

from wsdaemon.daemon.hub_pairs import HubPairs


def test_both_ends_wait_until_their_process_has_them() -> None:
    links = HubPairs(2)
    hub, worker = links.for_hub[2].dup(), links.for_worker[2].dup()
    links.hub_has(2)
    links.worker_has(2)
    assert (set(links.for_hub), set(links.for_worker)) == ({1}, {1})
    worker.send(b"x")
    assert hub.recv(1) == b"x"
    worker.close()
    assert hub.recv(1) == b"", "no copy of an end stays in the supervisor"
    hub.close()
    links.close()


def test_a_new_pair_takes_the_place_of_ends_that_still_wait() -> None:
    links = HubPairs(1)
    before: socket.socket = links.for_hub[1]
    links.connect(1)
    assert before.fileno() == -1
    assert links.for_hub[1].fileno() >= 0
    links.close()
    assert not links.for_hub and not links.for_worker
