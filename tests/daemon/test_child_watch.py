"""daemon/child_watch.py: children that hang are killed, and a supervisor that was away itself kills none."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent

from tests.support.supervised import House
from wsdaemon.daemon.child_watch import OVERDUE_SECONDS


def test_a_worker_whose_loop_stands_still_is_killed_with_its_stack_in_the_log(house: House) -> None:
    house.start()
    house.pass_time(29, [0, 1])
    assert house.latest(2).process.returncode is None
    with capturedLogs() as events:
        house.pass_time(2, [0, 1])
    assert len(house.started) == 4
    killed = next(event for event in events if "is killed" in formatEvent(event))
    assert formatEvent(killed) == "worker 2 is killed: its loop has stood still for 30 s; its main thread stood at:"
    assert killed["log_failure"].getTraceback() == 'File "app.py", line 3 in spin'


def test_after_a_pause_of_the_machine_no_worker_is_killed(house: House) -> None:
    house.start()
    house.pass_time(1, [0, 1, 2])
    timer = house.supervisor._watch._timer
    assert timer is not None
    timer.cancel()
    house.loop.advance(3600)
    house.supervisor._watch._look()  # the supervisor is the first to run again
    house.pass_time(5, [0, 1, 2])
    assert len(house.started) == 3


def test_a_child_that_never_becomes_ready_is_killed(house: House) -> None:
    house.run(house.supervisor.start())
    house.be_ready(0)
    house.be_ready(1)
    house.pass_time(house.supervisor._settings.daemon.start_timeout + 11, [0, 1])
    assert len(house.started) == 4


def test_systemd_hears_of_a_worker_that_is_overdue_by_silence(house: House) -> None:
    house.start()
    house.latest(2).kill = lambda: None  # type: ignore[method-assign]
    house.pass_time(30 + OVERDUE_SECONDS - 1, [0, 1])
    assert "WATCHDOG=1" in house.told_systemd()
    house.pass_time(2, [0, 1])
    house.told_systemd()
    house.pass_time(60, [0, 1])
    assert house.told_systemd() == []
