"""brokers/errors.py: each refusal has a code of its own, which clients see."""

from __future__ import annotations

import re

from wsdaemon.brokers.errors import BrokerError, RateLimited


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = BrokerError.__subclasses__()
    assert len({kind.code for kind in kinds} | {BrokerError.code}) == len(kinds) + 1 > 10
    for kind in kinds:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)
        assert (kind.__doc__ or "").endswith(".")


def test_a_publisher_that_is_too_fast_learns_how_long_to_wait() -> None:
    assert RateLimited("the room is busy", 2.5).retry_after == 2.5
