"""core/acceptance.py: the checks of an app's answer to an opening handshake."""

from __future__ import annotations

import pytest

from wsdaemon.core.acceptance import MAX_REFUSAL_BYTES, HandshakeRefused, check_acceptance, check_header
from wsdaemon.core.contract import Acceptance


@pytest.mark.parametrize("status", [200, 204, 301, 403, 599])
def test_a_status_that_is_a_whole_answer(status: int) -> None:
    assert HandshakeRefused(status).status == status


@pytest.mark.parametrize("status", [0, 101, 199, 600])
def test_a_status_that_is_none(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        HandshakeRefused(status)


def test_the_body_has_a_bound() -> None:
    assert len(HandshakeRefused(403, bytes(MAX_REFUSAL_BYTES)).body) == MAX_REFUSAL_BYTES
    with pytest.raises(ValueError, match="bytes"):
        HandshakeRefused(403, bytes(MAX_REFUSAL_BYTES + 1))


def test_text_is_utf_8() -> None:
    assert HandshakeRefused(403, "nö").body == "nö".encode()


@pytest.mark.parametrize("value", ["", "a b", "caf\xe9", "\ttabs\t"])
def test_good_values(value: str) -> None:
    check_header("X-Good", value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "a"), ("a b", ""), ("a:", ""), ("é", ""), ("a", "\r"), ("a", "\n"), ("a", "\0"), ("a", "\x7f"), ("a", "€"), ("upgrade", "h2c")],
)
def test_bad_headers(name: str, value: str) -> None:
    with pytest.raises(ValueError):
        check_header(name, value)
    with pytest.raises(ValueError):
        HandshakeRefused(403, b"", [(name, value)])
    with pytest.raises(ValueError):
        check_acceptance(Acceptance(headers=[(name, value)]), ())


def test_none_lets_the_client_in() -> None:
    assert check_acceptance(None, ()) == Acceptance()
