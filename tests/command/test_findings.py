"""command/findings.py: the lines that mend a finding."""

from __future__ import annotations

from wsdaemon.command.findings import CheckFinding, Verdict, idle_fix


def test_the_ping_comes_in_time_for_the_cut() -> None:
    assert idle_fix(60.0)["ws.ini"] == "ping_interval = 24s"
    assert idle_fix(1.0)["ws.ini"] == "ping_interval = 1s"


def test_a_finding_is_json() -> None:
    found = CheckFinding("idle cut", Verdict.PROBLEM, "a proxy cuts", {"nginx": "line;"}, {"cut": 1.0})
    assert found.as_json() == {
        "check": "idle cut", "verdict": "problem", "text": "a proxy cuts", "fix": {"nginx": "line;"}, "values": {"cut": 1.0}
    }  # fmt: skip
