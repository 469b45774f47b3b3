"""A request as a page gets it, its answer, and a problem."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from ...core.handshake import Headers
from ..workers import WorkersAway

T = TypeVar("T")

JSON = "application/json"
PROBLEM = "application/problem+json"
TEXT = "text/plain; charset=utf-8"

HeaderPairs = tuple[tuple[str, str], ...]


class RequestHead(Protocol):
    """The head of a request."""

    @property
    def method(self) -> str: ...

    @property
    def raw_path(self) -> bytes: ...

    @property
    def query_string(self) -> bytes: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def has_body(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A whole request. `values` has the values of its parameters by name: text, int or bool, as the route defines."""

    headers: Headers
    values: Mapping[str, Any]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = JSON
    headers: HeaderPairs = ()


Page = Answer | Awaitable[Answer]


class PageProblem(Exception):
    """The request is answered with an error (RFC 9457). `code` is stable, for programs; `detail` is a sentence for people."""

    def __init__(self, status: int, code: str, detail: str, headers: HeaderPairs = ()) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"

    def members(self) -> dict[str, Any]:
        """The problem as a JSON object."""
        return {"title": HTTPStatus(self.status).phrase, "status": self.status, "code": self.code, "detail": self.detail}

    def answer(self) -> Answer:
        return Answer(self.status, _encoded(self.members()), PROBLEM, self.headers)


async def asked(question: Awaitable[T]) -> T:
    """The answer of all workers. PageProblem 503 if the supervisor does not answer."""
    try:
        return await question
    except WorkersAway as error:
        raise PageProblem(503, "workers_away", f"{str(error).capitalize()}.", (("Retry-After", "1"),)) from None


def as_json(content: object, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, _encoded(content))


def as_text(text: str, status: int = 200) -> Answer:
    return Answer(status, text.encode(), TEXT)


def _encoded(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
