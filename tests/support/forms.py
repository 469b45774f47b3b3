"""How a form refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue

HERE = Path("/srv/ws")
"""The directory of the INI file."""


def refused(form: Form[Any], value: object) -> str:
    """The message with which the form refuses `value`; the test fails if it does not."""
    with pytest.raises(BadValue) as caught:
        form.locate(form.convert(value), HERE)
    return str(caught.value)
