"""The supervisor with children that are no processes: when they may serve, when they are killed, and in which order they end."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes import Loop
from tests.support.supervised import House, settings
from wsdaemon.daemon import supervisor
from wsdaemon.daemon.child_watch import LOOK_SECONDS
from wsdaemon.daemon.control import OperationFailed
from wsdaemon.daemon.parts import StartError, State
from wsdaemon.daemon.supervisor import worker_count
from wsdaemon.settings.values import Secret


def test_workers_serve_once_all_are_ready(house: House) -> None:
    task = house.run(house.supervisor.start())
    assert [child.name for child in house.started] == ["hub", "worker 1", "worker 2"]
    house.be_ready(0)
    house.be_ready(2)
    assert not task.done() and not house.latest(2).channel.sent
    house.be_ready(1)
    task.result()
    assert [house.latest(number).channel.sent for number in (0, 1, 2)] == [[], ["serve"], ["serve"]]
    assert house.told_systemd()[-2:] == ["READY=1", "STATUS=ready, 0 connections, 2 of 2 workers"]


def test_each_child_inherits_what_it_needs(house: House) -> None:
    house.start()
    named = {child.name: sorted(child.manifest.descriptors) for child in house.started}
    of_worker = ["heartbeats", "hub", "listener:web"]
    assert named == {"hub": ["heartbeats", "worker:1", "worker:2"], "worker 1": of_worker, "worker 2": of_worker}


def test_a_worker_that_is_replaced_serves_at_once_and_gets_a_new_link_to_the_hub(house: House) -> None:
    house.start()
    house.latest(1).process.returncode = -9
    house.pass_time(1, [0, 2])
    assert len(house.started) == 4
    assert house.latest(0).channel.passed == {"worker": 1}
    assert "hub" in house.latest(1).manifest.descriptors
    house.be_ready(1)
    assert house.latest(1).channel.sent == ["serve"]


@pytest.mark.parametrize(("state", "kind"), [(State.DRAINED, "drain"), (State.DRAINING, "leave")])
def test_a_worker_that_is_replaced_during_a_drain_is_not_ready_either(house: House, state: State, kind: str) -> None:
    """It answers /readyz by itself while this process is silent."""
    house.start()
    house.supervisor.state = state
    house.latest(1).process.returncode = -9
    house.pass_time(1, [0, 2])
    house.be_ready(1)
    assert house.latest(1).channel.sent == [kind, "serve"]


def test_a_worker_of_the_former_generation_that_becomes_ready_late_is_not_told_to_serve(house: House) -> None:
    """It was started in the midst of an upgrade, because the one before it had died, and it is to retire."""
    house.start()
    former = house.supervisor.generation
    late: Any = house.latest(1)
    late.channel.sent.clear()
    house.supervisor._generation = house.supervisor._make_generation(2)
    try:
        house.supervisor._received(former, late, {"kind": "ready"}, ())
        assert late.channel.sent == []
    finally:
        house.supervisor._generation.close()
        house.supervisor._generation = former


def test_the_counts_of_a_worker_whose_death_is_seen_before_the_end_of_its_channel_stay(house: House) -> None:
    house.start()
    gathering = house.supervisor._gathering
    gathering._last[1] = b"[]"
    house.latest(1).process.returncode = -9
    house.pass_time(1, [0, 2])
    assert 1 not in gathering._last, "they are in the sum of the ended"


def test_a_new_hub_gets_a_link_to_each_worker_and_the_workers_are_given_theirs(house: House) -> None:
    house.start()
    house.latest(0).process.returncode = -9
    house.pass_time(1, [1, 2])
    assert sorted(house.latest(0).manifest.descriptors) == ["heartbeats", "worker:1", "worker:2"]
    assert house.latest(1).channel.passed["hub"] == house.latest(2).channel.passed["hub"] == 1


def test_hub_and_worker_that_die_together_find_each_other(house: House) -> None:
    house.start()
    house.latest(0).process.returncode = house.latest(1).process.returncode = -9
    house.pass_time(1, [2])
    assert "worker:1" in house.latest(0).manifest.descriptors
    assert "hub" in house.latest(1).manifest.descriptors
    assert house.latest(2).channel.passed["hub"] == 1
    links = house.supervisor.generation.pairs
    assert not links.for_hub and not links.for_worker


def test_a_child_that_fails_five_times_ends_the_start_with_its_reason(house: House) -> None:
    task = house.run(house.supervisor.start())
    for _ in range(5):
        child = house.latest(1)
        house.tell(child, "failed", reason="no module named nope")
        child.process.returncode = 1
        house.loop.advance(2)
    house.loop.advance(1)
    with pytest.raises(StartError, match="worker 1 did not start 5 times in a row: no module named nope"):
        task.result()
    assert all(child.process.returncode is not None for child in house.started), "no child stays behind"
    assert house.supervisor.state is State.STOPPED
    assert not (Path(house.supervisor._settings.listeners[0].address.path)).exists()  # type: ignore[union-attr]


def test_a_child_that_starts_no_more_ends_the_daemon(house: House) -> None:
    house.start()
    house.latest(2).process.returncode = -9
    for _ in range(5):
        house.pass_time(10, [0, 1])
        house.latest(2).process.returncode = 1
    house.pass_time(1, [0, 1])
    assert house.failures == ["worker 2 did not start 5 times in a row: it ended with status 1"]


def test_the_hub_ends_after_the_workers(house: House) -> None:
    house.start()
    task = house.run(house.supervisor.stop())
    assert house.supervisor.state is State.DRAINING
    assert [house.latest(number).channel.sent[-1:] for number in (0, 1, 2)] == [[], ["stop"], ["stop"]]
    assert not Path(str(house.supervisor._settings.listeners[0].address).split(":")[1]).exists()
    house.latest(1).process.returncode = house.latest(2).process.returncode = 0
    house.loop.advance(LOOK_SECONDS)
    assert house.latest(0).channel.sent == ["stop"]
    house.latest(0).process.returncode = 0
    house.loop.advance(LOOK_SECONDS)
    task.result()
    assert len(house.started) == 3


def test_the_children_get_the_descriptor_of_a_log_that_was_opened_anew(house: House) -> None:
    house.start()
    assert house.supervisor.reopen_for_all(lambda: True)
    assert "log" not in house.latest(0).channel.sent, "the log is no file"
    house.supervisor._heritage = replace(house.supervisor._heritage, log_descriptor=lambda: 9)
    assert not house.supervisor.reopen_for_all(lambda: False)
    assert house.latest(0).channel.sent == [], "the old file stays in use"
    assert house.supervisor.reopen_for_all(lambda: True)
    assert house.latest(0).channel.sent == ["log"]
    assert house.latest(1).channel.sent == ["serve", "log"]


def test_the_status_names_every_process(house: House) -> None:
    house.start()
    told = house.run(house.supervisor.operations.run("status", {}, lambda line: None)).result()
    assert (told["status"], told["state"], told["generation"], told["listeners"][0]["port"]) == (0, "ready", 1, None)
    assert [(each["number"], each["state"]) for each in (told["hub"], *told["workers"])] == [(0, "ready"), (1, "ready"), (2, "ready")]


def test_a_reload_and_a_second_request_to_stop_are_passed_on(house: House) -> None:
    house.start()
    house.supervisor.reload()
    house.supervisor.drop()
    assert house.latest(0).channel.sent == ["drop"], "the hub has no files"
    assert house.latest(1).channel.sent == house.latest(2).channel.sent == ["serve", "reload", "drop"]


def test_a_worker_that_is_started_after_a_reload_gets_the_files_as_they_are_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the key of the start would stand beside the certificate of the reload, and no worker could start any more."""
    with Loop() as loop:
        house = House(loop, monkeypatch, tmp_path, admin=True)
        token = tmp_path / "token"
        token.write_text("the-first-token-1234")
        admin = house.supervisor.settings.admin
        assert admin is not None
        changed = replace(house.supervisor.settings, admin=replace(admin, token_file=Secret(token, "the-first-token-1234")))
        monkeypatch.setattr(house.supervisor, "_settings", changed)
        house.supervisor.open()
        house.start()
        for number, text in (1, "the-other-token-1234"), (2, "the-third-token-1234"):
            token.write_text(text)
            if number == 1:
                house.supervisor.reload()
            else:
                house.supervisor.go_on_with(changed, "", {})
            house.latest(number).process.returncode = -9
            house.pass_time(1, [0, 3 - number])
            assert house.latest(number).manifest.files[str(token)].content == text.encode()
        house.supervisor.close()
        house.notified.close()


def test_an_address_in_use_ends_the_start_before_any_child_begins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Loop() as loop, socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "ws.sock"))
        other.listen()
        house = House(loop, monkeypatch, tmp_path)
        with pytest.raises(StartError, match="another process listens there"):
            house.supervisor.open()
        assert not house.started
        house.notified.close()


def test_auto_is_as_many_as_cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "usable_cpus", lambda: 7)
    assert worker_count(settings(tmp_path, workers="auto")) == 7
    assert worker_count(settings(tmp_path, workers=3)) == 3


def test_the_supervisor_imports_nothing_that_serves_clients() -> None:
    program = "import sys, wsdaemon.tap, wsdaemon.daemon.supervisor; print([name for name in sys.modules if name in sys.argv])"
    done = subprocess.run(
        [sys.executable, "-c", program, "autobahn", "wsdaemon.wire", "wsdaemon.edge", "wsdaemon.apps", "cryptography", "prometheus_client"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "[]\n"


def test_sigterm_leaves_the_workers_accepting_for_the_grace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Loop() as loop:
        house = House(loop, monkeypatch, tmp_path, admin=True)
        house.supervisor.open()
        house.start()
        house.told_systemd()
        leaving = house.run(house.supervisor.leave())
        assert house.supervisor.state is State.DRAINING
        assert house.told_systemd() == ["STOPPING=1", "STATUS=draining", "EXTEND_TIMEOUT_USEC=20000000"]
        house.latest(1).process.returncode = -9
        house.pass_time(4.5, [0, 2])
        assert not leaving.done()
        assert [child.channel.sent for child in house.started[:3]] == [["worker"], ["serve", "leave"], ["serve", "leave"]]
        house.be_ready(1)
        assert house.latest(1).channel.sent == ["leave", "serve"], "a worker that is replaced meanwhile serves, too, and is not ready"
        house.pass_time(0.75, [0, 1, 2])
        assert leaving.done()
        house.supervisor.close()
        house.notified.close()


def test_a_drain_without_a_stop_is_the_workers_to_do(house: House) -> None:
    house.start()
    house.supervisor.drain(120.0)
    states = [house.supervisor.state]
    assert house.latest(1).channel.sent[-1] == house.latest(2).channel.sent[-1] == "drain"
    house.supervisor.resume()
    assert [*states, house.supervisor.state] == [State.DRAINED, State.READY]
    assert house.latest(1).channel.sent[-1] == "resume"
    task = house.run(house.supervisor.leave())
    assert task.done(), "there is no admin page to tell a balancer"


@pytest.mark.parametrize("state", [State.DRAINING, State.STARTING])
def test_a_supervisor_that_is_not_ready_leaves_no_state_to_a_next_program(house: House, state: State) -> None:
    house.start()
    house.supervisor.state = state
    control: Any = None
    with pytest.raises(OperationFailed, match=f"the daemon is {state.value}"):
        house.supervisor.leave_state("", control, "")
