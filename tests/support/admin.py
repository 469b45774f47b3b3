"""Questions to the admin pages, and their answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any

from tests.support.fakes import Loop
from wsdaemon.edge.request import HeadReader
from wsdaemon.ops.admin import room_table, table
from wsdaemon.ops.admin.contract import PROBLEM, Answer, PageRequest, as_json
from wsdaemon.ops.admin.routes import Content, Parameter, Route
from wsdaemon.ops.admin.site import AdminSite

TOKEN = "0123456789abcdef"

EVERYTHING = [one for one in {**vars(table), **vars(room_table)}.values() if isinstance(one, Route)]
"""Every route that there is."""

THING = Route(
    method="POST",
    path="/things/{name}/parts/{part}",
    name="thing",
    about="A thing.",
    parameters=(
        Parameter("name", "path", "", {"type": "string", "maxLength": 8}),
        Parameter("part", "path", "", {"type": "integer", "minimum": 1, "maximum": 9}),
        Parameter("limit", "query", "", {"type": "integer", "minimum": 1, "maximum": 9, "default": 3}),
        Parameter("all", "query", "", {"type": "boolean", "default": False}),
        Parameter("X-Key", "header", "", {"type": "string", "pattern": "^[a-z]+$", "title": "small letters"}),
    ),
    body=Content("Anything."),
    answers={200: Content("What was asked.")},
)
OPEN = Route(method="GET", path="/open", name="open", about="For everybody.", open=True, answers={200: Content("It.")})


def shown(request: PageRequest) -> Answer:
    return as_json({**request.values, "body": request.body.decode()})


def site(token: str | None = TOKEN, handler: Any = shown) -> AdminSite:
    return AdminSite([(THING, handler), (OPEN, shown)], lambda: token, "1")


def head(line: str, *lines: str) -> Any:
    return HeadReader(10_000, True).feed("\r\n".join([f"{line} HTTP/1.1", "Host: here", *lines, "", ""]).encode())


def ask(pages: AdminSite, line: str, *lines: str, body: bytes = b"", token: str | None = TOKEN) -> Answer:
    """The answer, however it comes."""
    asked = head(line, *([] if token is None else [f"Authorization: Bearer {token}"]), *lines)
    refusal = pages.refusal(asked)
    answer = refusal if refusal is not None else pages.answer(asked, body)
    if isinstance(answer, Awaitable):
        with Loop() as loop:
            task: asyncio.Task[Answer] = loop.create_task(answer)  # type: ignore[arg-type]
            loop.settle()
            return task.result()
    return answer


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.content_type == PROBLEM
    members = json.loads(answer.body)
    assert members["status"] == answer.status and members["title"] and members["detail"].endswith(".")
    return answer.status, members["code"]
