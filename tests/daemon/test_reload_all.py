"""A reload with workers: all prepare and commit, or all undo."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsdaemon.daemon import reload_all
from wsdaemon.daemon.control import OperationFailed
from wsdaemon.daemon.reload_all import ReloadOfAll
from wsdaemon.daemon.sockets import Bound, Sockets
from wsdaemon.settings.ini import load
from wsdaemon.settings.model import Settings

BASE = """
[daemon]
workers = 2
[listener:web]
address = unix:web.sock
[mount:/echo]
app = echo
"""


class Child:
    """A worker that answers as it is told to."""

    def __init__(self, number: int, house: House) -> None:
        self.number, self.house = number, house
        self.name = f"worker {number}"
        self.channel = self
        self.open = True
        self.told: list[str] = []
        self.answers = {"prepare": ["prepared"], "commit": ["committed"], "reload": ["reloaded"]}
        self.problems: list[str] = []

    def send(self, kind: str, descriptors: Sequence[int] = (), **fields: Any) -> None:
        self.told.append(kind)
        if kind == "prepare":
            self.house.texts.append(os.pread(descriptors[0], 10_000, 0).decode())
            self.house.sections.append((fields["sections"], len(descriptors)))
        for answer in self.answers.get(kind, []):
            message = {"kind": answer, "number": fields["number"], "problems": self.problems}
            child: Any = self
            asyncio.get_running_loop().call_soon(self.house.reload.received, child, message)

    def kill(self) -> None:
        raise AssertionError


class House:
    """A supervisor's part of a reload."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = self.read(BASE)
        self.texts: list[str] = []
        self.sections: list[object] = []
        self.taken: list[tuple[Settings, str, Mapping[str, Bound]]] = []
        self.children = [Child(1, self), Child(2, self)]
        self.keepers = [SimpleNamespace(child=child, ready=True, name=child.name) for child in self.children]
        self.hub = Child(0, self)
        supervised: Any = self
        self.reload = ReloadOfAll(supervised, Sockets({}))

    @property
    def generation(self) -> Any:
        return SimpleNamespace(workers=self.keepers, hub=SimpleNamespace(child=self.hub))

    def read(self, text: str) -> Settings:
        (self.folder / "ws.ini").write_text(text)
        return load(self.folder / "ws.ini")

    def go_on_with(self, settings: Settings, text: str, added: Mapping[str, Bound]) -> None:
        self.settings = settings
        self.taken.append((settings, text, added))

    async def apply(self, text: str) -> None:
        await self.reload.apply(self.read(text), text)

    @property
    def told(self) -> list[list[str]]:
        return [child.told for child in self.children]


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


def test_all_prepare_and_then_all_commit(tmp_path: Path) -> None:
    house = House(tmp_path)
    text = BASE + "[listener:two]\naddress = unix:two.sock\n[logging]\nlevel = debug\n"
    run(house.apply(text))
    assert house.told == [["prepare", "commit"]] * 2
    assert house.texts == [text] * 2
    assert house.sections == [(["listener:two"], 2)] * 2
    (settings, kept, added) = house.taken[0]
    assert (settings.logging.level, kept, list(added)) == ("debug", text, ["listener:two"])
    assert house.hub.told == ["levels"]
    for bound in added.values():
        bound.close()


def test_the_text_has_the_settings_in_force(tmp_path: Path) -> None:
    house = House(tmp_path)
    run(house.apply(BASE.replace("workers = 2", "workers = 3\nretry_after = 9s")))
    kept = house.read(house.taken[0][1])
    assert (kept.daemon.workers, kept.daemon.retry_after) == (2, 9.0)
    assert house.texts == [house.taken[0][1]] * 2


def test_one_that_refuses_undoes_everything(tmp_path: Path) -> None:
    house = House(tmp_path)
    for child in house.children:
        child.answers["prepare"], child.problems = ["refused"], ["no module x"]
    house.children[0].answers["prepare"] = ["prepared"]
    with pytest.raises(OperationFailed) as failed:
        run(house.apply(BASE + "[listener:two]\naddress = unix:two.sock\n"))
    assert failed.value.problems == ["no module x"]
    assert house.told == [["prepare", "undo"]] * 2
    assert house.taken == []
    assert not (tmp_path / "two.sock").exists()


def test_an_address_that_cannot_be_used_is_told_before_any_worker_is_asked(tmp_path: Path) -> None:
    house = House(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OperationFailed, match="not a socket"):
        run(house.apply(BASE + "[listener:two]\naddress = unix:two.sock\n[listener:three]\naddress = unix:file\n"))
    assert house.told == [[], []]
    assert not (tmp_path / "two.sock").exists()


def test_more_new_listeners_than_one_message_has_room_for(tmp_path: Path) -> None:
    house = House(tmp_path)
    with pytest.raises(OperationFailed, match="one reload takes 7"):
        run(house.apply(BASE + "".join(f"[listener:l{number}]\naddress = unix:l{number}.sock\n" for number in range(8))))
    assert house.told == [[], []]


def test_one_that_dies_has_no_say_and_its_successor_is_replaced(tmp_path: Path) -> None:
    house = House(tmp_path)
    dying: Any = house.children[1]
    dying.answers["prepare"] = []

    async def die() -> None:
        applying = asyncio.ensure_future(house.apply(BASE.replace("= echo", "= ticker")))
        while not dying.told:  # noqa: ASYNC110 - one turn or two
            await asyncio.sleep(0)
        house.reload.ended(dying)
        dying.open = False
        house.keepers[1].child = successor = Child(2, house)
        while not successor.told:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        house.keepers[1].child = Child(2, house)
        await applying
        assert successor.told == ["stop"], "it began with the settings of before"
        assert house.children[0].told == ["prepare", "commit"]

    run(die())


def test_a_successor_that_is_not_ready_is_killed(tmp_path: Path) -> None:
    house = House(tmp_path)
    successor = Child(2, house)

    def die(settings: Settings, text: str, added: Mapping[str, Bound]) -> None:
        house.keepers[1].child, house.keepers[1].ready = successor, False

    successor.kill = lambda: setattr(house.keepers[1], "child", None)  # type: ignore[method-assign]
    house.go_on_with = die  # type: ignore[method-assign]
    run(house.apply(BASE.replace("= echo", "= ticker")))
    assert house.keepers[1].child is None


def test_a_silent_worker_ends_the_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    house.children[1].answers["prepare"] = []
    monkeypatch.setattr(reload_all, "MARGIN_SECONDS", 0.0)
    with pytest.raises(OperationFailed, match=r"worker 2: no answer within 0\.01 s"):
        run(house.apply(BASE.replace("workers = 2", "workers = 2\nstart_timeout = 10ms")))
    assert house.told == [["prepare", "undo"]] * 2


def test_a_worker_that_is_silent_after_all_have_prepared_undoes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    house.children[1].answers["commit"] = []
    monkeypatch.setattr(reload_all, "MARGIN_SECONDS", 0.0)
    told: list[str] = []
    monkeypatch.setattr(reload_all.log, "warn", lambda line, **fields: told.append(line.format(**fields)))
    run(house.apply(BASE.replace("workers = 2", "workers = 2\nstart_timeout = 10ms")))
    assert house.told == [["prepare", "commit"]] * 2
    assert len(house.taken) == 1
    assert told == ["worker 2 has not said within 0.01 s that the new settings are in use: it takes them when its loop turns again"]


def test_a_worker_that_does_not_become_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    house.keepers[1].ready = False
    monkeypatch.setattr(reload_all, "READY_SECONDS", 0.0)
    with pytest.raises(OperationFailed, match="worker 2: not ready"):
        run(house.apply(BASE))
    assert house.told == [[], []]


def test_other_messages_are_none_of_a_reload(tmp_path: Path) -> None:
    house = House(tmp_path)
    child: Any = house.children[0]
    assert not house.reload.received(child, {"kind": "ready"})
    assert house.reload.received(child, {"kind": "prepared", "number": 9}), "late, and for nothing"


def test_every_reason_for_an_old_certificate_is_told_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    for child, reason in zip(house.children, ("cert.pem is bad", "cert.pem is bad"), strict=True):
        child.problems = [reason]
    reasons: list[str] = []

    async def life() -> None:
        reasons.extend(await house.reload.refresh())

    run(life())
    assert (reasons, house.told) == (["cert.pem is bad"], [["reload"]] * 2)


def test_a_worker_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(reload_all, "REFRESH_SECONDS", 0.01)
    monkeypatch.setattr(reload_all.log, "warn", lambda line, **fields: told.append(line.format(**fields)))
    house = House(tmp_path)
    house.children[1].answers = {}
    house.keepers[0].ready = False
    reasons: list[str] = []

    async def life() -> None:
        reasons.extend(await house.reload.refresh())

    run(life())
    assert reasons == ["worker 2 has not said within 0.01 s that it has read certificates and secret files"]
    assert told == reasons, "SIGHUP has no other answer than the log"
    assert house.told == [[], ["reload"]], "one that is being started reads them anyway"
