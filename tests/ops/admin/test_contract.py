"""ops/admin/contract.py: answers and problems."""

from __future__ import annotations

import json

import pytest

from wsdaemon.core.handshake import Headers
from wsdaemon.ops.admin.contract import JSON, PROBLEM, TEXT, Answer, PageProblem, PageRequest, as_json, as_text


def test_json_is_compact_utf_8_and_ends_with_a_line() -> None:
    assert as_json({"name": "é", "list": [1, None]}) == Answer(200, '{"name":"é","list":[1,null]}\n'.encode(), JSON)
    assert as_json([], 201).status == 201


def test_text() -> None:
    assert as_text("live\n", 503) == Answer(503, b"live\n", TEXT)


@pytest.mark.parametrize(("status", "title"), [(400, "Bad Request"), (429, "Too Many Requests"), (503, "Service Unavailable")])
def test_a_problem_is_answered_as_rfc_9457_has_it(status: int, title: str) -> None:
    problem = PageProblem(status, "stable_code", "A sentence.", (("Retry-After", "1"),))
    answer = problem.answer()
    assert (answer.status, answer.content_type, answer.headers) == (status, PROBLEM, (("Retry-After", "1"),))
    assert json.loads(answer.body) == {"title": title, "status": status, "code": "stable_code", "detail": "A sentence."}
    assert str(problem) == f"{status} stable_code: A sentence."


def test_bodies_are_not_shown() -> None:
    assert "secret" not in repr(PageRequest(Headers(), {}, b"secret")) + repr(Answer(200, b"secret"))
