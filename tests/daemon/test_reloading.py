"""The command `reload` by itself: what it tells systemd, the log and the client."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from wsdaemon.daemon import reloading
from wsdaemon.daemon.control import OperationFailed
from wsdaemon.daemon.reloading import ReloadCommand
from wsdaemon.daemon.reread import SettingsFile
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import Settings

TEXT = "[daemon]\nretry_after = 5s\n[listener:web]\naddress = tcp:0\n[mount:/echo]\napp = echo\n"


class House:
    """A reload whose parts write down their calls."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.calls = folder, list[str]()
        (folder / "ws.ini").write_text(TEXT)
        self.settings = load(folder / "ws.ini")
        notifier: Any = self
        self.reload = ReloadCommand(
            SettingsFile("ws.ini", folder, {}), lambda: self.settings, self.apply, self.refresh, notifier, lambda: "ready, 0 connections"
        )
        for level in ("info", "error"):
            monkeypatch.setattr(reloading.log, level, lambda line, **fields: self.calls.append(line.format(**fields)))

    def reloading(self, status: str) -> None:
        self.calls.append("RELOADING")

    def ready(self, status: str) -> None:
        self.calls.append("READY")

    async def refresh(self) -> list[str]:
        self.calls.append("refresh")
        return ["the old certificate stays in use"]

    async def apply(self, new: Settings, text: str) -> None:
        self.calls.append("apply")
        if new.daemon.retry_after == 6.0:
            raise OperationFailed("no", "not at all")
        self.settings = new

    def run(self, text: str, **arguments: object) -> tuple[Mapping[str, Any], list[str]]:
        (self.folder / "ws.ini").write_text(text)
        told: list[str] = []
        return asyncio.run(_run(self.reload, arguments, told)), told


async def _run(reload: ReloadCommand, arguments: dict[str, object], told: list[str]) -> Mapping[str, Any]:
    return await reload(arguments, told.append)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path, monkeypatch)


def test_a_change(house: House) -> None:
    answer, told = house.run(TEXT.replace("5s", "7s"))
    assert answer == {"changes": ["[daemon] retry_after: 5s > 7s"], "restart": []}
    assert told == ["[daemon] retry_after: 5s > 7s", "the old certificate stays in use"]
    assert house.calls == ["RELOADING", "apply", "refresh", "READY", "reloaded: 1 changes"]


def test_no_change_and_one_that_waits_for_a_restart(house: House) -> None:
    assert house.run(TEXT)[0] == {"changes": [], "restart": []}
    assert house.calls == ["RELOADING", "refresh", "READY", "reloaded: 0 changes"]
    answer, _ = house.run(TEXT.replace("[daemon]", "[daemon]\nworkers = 3"))
    assert answer["restart"] == ["[daemon] workers"]
    assert house.calls[-1] == "reloaded: 0 changes; [daemon] workers will change at the next restart"


def test_a_dry_run_tells_and_does_nothing(house: House) -> None:
    answer, told = house.run(TEXT.replace("5s", "7s"), dry_run=True)
    assert answer["changes"] == told == ["[daemon] retry_after: 5s > 7s"]
    assert house.calls == []


def test_a_refusal(house: House) -> None:
    """Certificates and secret files stay as they are, too."""
    with pytest.raises(OperationFailed):
        house.run(TEXT.replace("5s", "6s"))
    assert house.calls == ["RELOADING", "apply", "the reload is refused, and nothing has changed: no; not at all", "READY"]
    with pytest.raises(OperationFailed, match="bogus"):
        house.run(TEXT + "bogus = 1\n")
    assert house.settings.daemon.retry_after == 5.0
    assert "refresh" not in house.calls
