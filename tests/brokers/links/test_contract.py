"""brokers/links/contract.py: the values between a broker and its link."""

from __future__ import annotations

from wsdaemon.brokers.links.contract import Publication


def test_a_publication_never_shows_its_payload() -> None:
    assert repr(Publication(7, "lobby", b"a secret", True)) == "<Publication 7 in 'lobby', 8 bytes>"
