"""docs/security.md names tests that are there, and keys that are there."""

from __future__ import annotations

import re
from pathlib import Path

from wsdaemon.settings.model import ListenerSettings, MountSettings
from wsdaemon.settings.schema import keys_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(named) > 30
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_every_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| threat ")]
    assert rows
    for row in rows:
        assert "`tests/" in row.split("|")[3], row


def test_the_defaults_are_as_they_are_told() -> None:
    keys = keys_of(ListenerSettings) | keys_of(MountSettings)
    told = re.findall(r"\(`(\w+)`, (\d+)[,)]", PAGE)
    assert len(told) == 4
    assert [(name, str(keys_of(ListenerSettings)[name].default)) for name, _ in told] == told
    for name in re.findall(r"\(`(\w+)`", PAGE):
        assert name in keys
