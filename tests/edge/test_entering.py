"""edge/entering.py: the part of an entrance that is waited for, and answers that come too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support.fakes import Loop
from wsdaemon.core.contract import Acceptance
from wsdaemon.core.handshake import Handshake
from wsdaemon.edge.entering import Entering, abandon, look_at, waited_for

HANDSHAKE = Handshake(target="/", path="/", raw_path=b"/")


def entry(waits_for_place: bool) -> Entering:
    place: Any = object()
    return Entering(HANDSHAKE, place, None, waits_for_place)


@pytest.mark.parametrize(("entering", "reasons"), [(None, "auth"), (entry(True), "hub"), (entry(False), "app")])
def test_reasons_name_the_part_that_is_waited_for(entering: Entering | None, reasons: str) -> None:
    cancelled, late, _ = waited_for(entering)
    assert (cancelled, late) == (f"{reasons}_cancelled", f"{reasons}_timeout")


def test_an_app_hears_that_its_acceptance_came_too_late() -> None:
    heard: list[str] = []
    with Loop() as loop:
        question: asyncio.Future[Any] = loop.create_future()
        question.set_result(Acceptance(abandoned=lambda: heard.append("abandoned")))
        look_at(question)
        cancelled: asyncio.Future[Any] = loop.create_future()
        cancelled.cancel()
        failed: asyncio.Future[Any] = loop.create_future()
        failed.set_exception(ValueError())
        for late in (cancelled, failed):
            look_at(late)
    assert heard == ["abandoned"]
    abandon(None)
    abandon(Acceptance())
