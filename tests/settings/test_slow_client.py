"""settings/slow_client.py: each policy knows its meaning."""

from __future__ import annotations

import pytest

from wsdaemon.settings.form import EnumForm
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.slow_client import SlowClient
from wsdaemon.settings.values import get_form


def test_what_each_policy_does() -> None:
    assert {one.value: (one.drops, one.waits, one.keeps_latest) for one in SlowClient} == {
        "close": (False, False, False),
        "drop_oldest": (True, False, False),
        "latest": (True, False, True),
        "wait": (False, True, False),
    }


def test_its_form() -> None:
    form = get_form(SlowClient)
    assert isinstance(form, EnumForm)
    assert form.convert("Latest") is form.convert(SlowClient.LATEST) is SlowClient.LATEST
    assert form.show(SlowClient.WAIT) == "wait"
    with pytest.raises(BadValue, match="expected close, drop_oldest, latest or wait; did you mean wait"):
        form.convert("wiat")
