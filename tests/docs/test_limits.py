"""docs/limits.md has every limit, with the keys, defaults and reasons that there are, and names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsdaemon.settings.daemon import DaemonSettings
from wsdaemon.settings.model import ListenerSettings, MountSettings
from wsdaemon.settings.schema import keys_of

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "limits.md").read_text()
CLIENTS, _, DAEMON = PAGE.partition("\n## The daemon's own work\n")
ROWS, OWN_ROWS = (
    [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if re.match(r"\| (?!limit |setting )", line)]
    for part in (CLIENTS, DAEMON)
)
LIMIT = re.compile(r"max_\w+|\w+_per_second\w*|\w+_timeout|lifetime|send_backlog\w*")
KEY = re.compile(r"`(\w+)` = `(\w+)`")


@pytest.mark.parametrize(("column", "settings"), [(0, DaemonSettings), (1, ListenerSettings), (2, MountSettings)])
def test_every_limit_is_there_with_its_default(column: int, settings: type) -> None:
    keys = {name: key.form.show(key.default) for name, key in keys_of(settings).items() if LIMIT.fullmatch(name)}
    for own in ("start_timeout", "drain_timeout", "worker_timeout"):  # of the daemon and its processes, not of clients
        keys.pop(own, None)
    told = [found for row in ROWS for found in KEY.findall(row[column])]
    assert dict(told) == keys


def test_every_row_is_whole_and_names_tests_that_are_there() -> None:
    assert len(ROWS) == 23
    for row in ROWS:
        assert len(row) == 6 and (row[1] or row[2]) and row[3] and row[4], row
        assert "`tests/" in row[5], row
    for path, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE):
        assert f"def {test}(" in (ROOT / path).read_text(), f"{path}::{test}"


def test_every_limit_of_the_daemons_own_work_is_there_and_names_its_tests() -> None:
    assert len(OWN_ROWS) == 11 and all("`tests/" in row[-1] for row in OWN_ROWS)
    keys = keys_of(DaemonSettings) | keys_of(MountSettings)
    told = {name: keys[name].form.show(keys[name].default) for name in ("start_timeout", "disconnect_grace", "drain_timeout")}
    assert dict(KEY.findall(" ".join(row[1] for row in OWN_ROWS))) == told


def test_the_reasons_are_those_that_are_counted() -> None:
    edge = "".join(path.read_text() for path in (ROOT / "wsdaemon" / "edge").glob("*.py"))
    reasons = {row[4].strip("`") for row in ROWS if row[4].startswith("`")}
    assert len(reasons) == 11
    for reason in reasons:
        assert f'"{reason}"' in edge
