"""The errors of clients, and which of them are final."""

from __future__ import annotations

import pytest

from wsdaemon import client
from wsdaemon.client.errors import OpeningRefused
from wsdaemon.core.handshake import Headers


def test_every_error_is_a_client_error() -> None:
    names = ["BadHandshake", "BadRedirect", "CertificateRejected", "ClientClosed", "ConnectFailed", "OpeningRefused", "QueueFull"]
    names += ["RoomError", "Uncertain"]
    assert all(issubclass(getattr(client, name), client.ClientError) for name in names)


@pytest.mark.parametrize(
    ("status", "final"),
    [(301, True), (400, True), (401, True), (403, True), (404, True), (408, False), (425, False), (429, False), (500, False), (503, False)],
)
def test_final_statuses(status: int, final: bool) -> None:
    assert OpeningRefused(status, "", Headers()).final is final
