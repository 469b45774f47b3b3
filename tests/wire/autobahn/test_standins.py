"""wire/autobahn/standins.py: what stands in the place of parts that are not used."""

from __future__ import annotations

import txaio
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.logger import LogLevel, capturedLogs

from wsdaemon.wire.autobahn.standins import Resolved, Validator, WireLog


class Holder:
    utf8validator = Validator()


def test_a_deferred_that_is_not_waited_for_can_be_resolved_again_and_again() -> None:
    resolved = Resolved()
    for _ in range(2):
        txaio.resolve(resolved, "result")  # type: ignore[attr-defined]


def test_a_validator_is_made_when_it_is_first_needed_and_kept() -> None:
    holder = Holder()
    assert vars(holder) == {}
    validator = holder.utf8validator
    assert isinstance(validator, Utf8Validator)
    assert holder.utf8validator is validator and Holder().utf8validator is not validator


def test_a_clients_mistakes_are_no_news_for_the_operator() -> None:
    with capturedLogs() as events:
        log = WireLog()
        log.debug("dropped {it}", it=1)
        log.trace("dropped")
        for level in (log.info, log.warn, log.error):
            level("kept {it}", it=2)
    assert [event["log_level"] for event in events] == [LogLevel.debug] * 3
