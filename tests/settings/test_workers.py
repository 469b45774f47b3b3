"""settings/workers.py: the key workers."""

from __future__ import annotations

import pytest

from tests.support.forms import refused
from wsdaemon.settings.values import get_form
from wsdaemon.settings.workers import Workers


@pytest.mark.parametrize(("given", "value"), [("", None), (None, None), ("auto", "auto"), ("AUTO", "auto"), ("1", 1), (256, 256)])
def test_the_number_of_workers(given: object, value: object) -> None:
    assert get_form(Workers).convert(given) == value
    assert get_form(Workers).convert(get_form(Workers).show(value)) == value


@pytest.mark.parametrize("given", ["0", "257", "-1", "two", "1.5", 0, 257, True, 2.0])
def test_no_number_of_workers(given: object) -> None:
    assert refused(get_form(Workers), given) == "expected auto, a whole number from 1 to 256, or nothing"
