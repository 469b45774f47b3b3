"""apps/proxy/contract.py: the values that cross the seam show no secret and keep what the answer needs."""

from __future__ import annotations

from wsdaemon.apps.proxy.contract import Answered, TargetFailed, TargetRefused
from wsdaemon.core.handshake import Headers


def test_failures_and_refusals() -> None:
    assert (TargetFailed("x").late, TargetFailed("x", late=True).late, str(TargetFailed("Connection refused"))) == (
        False,
        True,
        "Connection refused",
    )
    refused = TargetRefused(403, Headers([(b"x-y", b"z")]), b"no")
    assert (refused.status, refused.headers["x-y"], refused.body) == (403, "z", b"no")


def test_an_answer_s_text_has_no_value_of_a_header() -> None:
    def never(*session: object) -> object:
        raise AssertionError

    answered = Answered("chat", Headers([(b"set-cookie", b"secret")]), never, lambda: None)  # type: ignore[arg-type]
    assert "secret" not in repr(answered)
    assert "chat" in repr(answered)
