"""edge/auth/contract.py: refusals."""

from __future__ import annotations

from wsdaemon.edge.auth.contract import Denied, Foreign, Unavailable
from wsdaemon.edge.request import BadRequest


def test_a_refusal_is_answered_as_any_bad_request() -> None:
    error = Denied("auth_refused", detail="The password is wrong.", user="ada")
    assert isinstance(error, BadRequest)
    assert (error.status, error.reason, error.headers, error.user) == (401, "auth_refused", (), "ada")
    assert error.detail == "The password is wrong."


def test_a_credential_of_another_issuer_is_a_refusal_unless_the_next_one_knows_it() -> None:
    assert isinstance(Foreign("auth_refused"), Denied)
    assert Foreign("auth_refused").user is None


def test_who_cannot_be_recognised_now_is_told_when_to_come_back() -> None:
    error = Unavailable("auth_busy", "Too many logins wait.", retry_after=7)
    assert (error.status, error.headers) == (503, (("Retry-After", "7"),))
