"""The admin pages: the token check, and the page that answers."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from .contract import Answer, HeaderPairs, Page, PageProblem, PageRequest, RequestHead
from .openapi import document
from .routes import Handler, Route, Table
from .table import DESCRIPTION

CHALLENGE = 'Bearer realm="wsdaemon"'


class Refusal(Protocol):
    """The reason to refuse bytes that are no HTTP request."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def detail(self) -> str: ...

    @property
    def headers(self) -> HeaderPairs: ...


class AdminSite:
    """The pages behind one address."""

    def __init__(self, pages: Iterable[tuple[Route, Handler]], token: Callable[[], str | None], version: str) -> None:
        """`pages` is a table without the page that describes it. `token` returns the current token; None disables authentication."""
        self._token = token
        self.table = Table([*pages, (DESCRIPTION, lambda request: self._description)])
        self._description = document(self.table.routes, version)

    def refusal(self, head: RequestHead) -> Answer | None:
        """The answer to a request that is refused before its body is read; None: read the body."""
        try:
            route, _, _ = self.table.find(head)
            if not route.open:
                self._check_token(head)
        except PageProblem as problem:
            return problem.answer()
        return None

    def answer(self, head: RequestHead, body: bytes) -> Page:
        """The answer to a whole request."""
        try:
            route, handler, found = self.table.find(head)
            if body and route.body is None:
                raise PageProblem(400, "body", "This request takes no body.")
            page = handler(PageRequest(head.headers, route.values(found, head), body))
        except PageProblem as problem:
            return problem.answer()
        return _answered(page) if isinstance(page, Awaitable) else page

    def problem(self, error: Refusal) -> Answer:
        """The answer to bytes that are no request."""
        return PageProblem(error.status, error.reason, error.detail, error.headers).answer()

    def _check_token(self, head: RequestHead) -> None:
        wanted = self._token()
        if wanted is None:
            return
        given = head.headers.get_all("authorization")
        scheme, _, shown = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise PageProblem(401, "no_token", "Show the token: Authorization: Bearer TOKEN.", (("WWW-Authenticate", CHALLENGE),))
        if not hmac.compare_digest(shown.strip(" ").encode("latin-1"), wanted.encode()):
            challenge = f'{CHALLENGE}, error="invalid_token"'
            raise PageProblem(401, "bad_token", "This is not the token.", (("WWW-Authenticate", challenge),))


async def _answered(page: Awaitable[Answer]) -> Answer:
    try:
        return await page
    except PageProblem as problem:
        return problem.answer()
