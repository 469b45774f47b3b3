"""command/doctor_tls.py: grades and findings. tests/live/test_doctor.py has real servers."""

from __future__ import annotations

import pytest

from wsdaemon.command.doctor_tls import certificate_finding, grade_of, versions_finding
from wsdaemon.command.findings import Verdict

MODERN = ["TLSv1.2", "TLSv1.3"]


@pytest.mark.parametrize(
    ("spoken", "problem", "days", "grade"),
    [
        (MODERN, None, 60.0, "A"), (["TLSv1.2"], None, 60.0, "B"), (MODERN, None, 3.0, "B"), (["TLSv1.0", *MODERN], None, 60.0, "C"),
        (MODERN, "self-signed certificate", 60.0, "F"), ([], None, None, "F"),
    ],
)  # fmt: skip
def test_grades(spoken: list[str], problem: str | None, days: float | None, grade: str) -> None:
    assert grade_of(spoken, problem, days) == grade


def test_old_versions_are_a_problem_with_a_line_to_change() -> None:
    found = versions_finding(["TLSv1.1", *MODERN])
    assert found.verdict is Verdict.PROBLEM
    assert found.fix["nginx"] == "ssl_protocols TLSv1.2 TLSv1.3;"
    assert versions_finding(["TLSv1.2"]).verdict is Verdict.WARNING
    assert versions_finding(MODERN).verdict is Verdict.GOOD


def test_certificates() -> None:
    assert certificate_finding(None, 60.0, ["a"]).verdict is Verdict.GOOD
    assert certificate_finding(None, 2.0, ["a"]).verdict is Verdict.WARNING
    incomplete = certificate_finding("unable to get local issuer certificate", 60.0, ["a"])
    assert incomplete.verdict is Verdict.PROBLEM
    assert "lacks the intermediate ones" in incomplete.text
    assert "its names are a, b" in certificate_finding("Hostname mismatch, certificate is not valid for 'c'.", 60.0, ["a", "b"]).text
