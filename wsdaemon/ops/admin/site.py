"""The admin pages: the token check, and the page that answers."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol

from ...settings.admin import TokenRole
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


Tokens = Sequence[tuple[str, Collection[TokenRole]]]
"""Tokens in use, each with the roles that it has."""


def roles_of(shown: bytes, tokens: Tokens) -> frozenset[TokenRole]:
    """The roles of a token that was shown. Every token is compared, in a time that does not depend on where they differ."""
    found: set[TokenRole] = set()
    for token, roles in tokens:
        if hmac.compare_digest(shown, token.encode()):
            found.update(roles)
    return frozenset(found)


class AdminSite:
    """The pages behind one address."""

    def __init__(
        self, pages: Iterable[tuple[Route, Handler]], token: Callable[[], str | None], version: str,
        further: Callable[[], Tokens] = tuple,
    ) -> None:  # fmt: skip
        """`pages` is a table without the page that describes it. `token` returns the current token, which has all roles.

        `further` returns the current tokens with some of the roles. If there is no token at all, no request needs one.
        """
        self._token = token
        self._further = further
        self.table = Table([*pages, (DESCRIPTION, lambda request: self._description)])
        self._description = document(self.table.routes, version)

    def refusal(self, head: RequestHead) -> Answer | None:
        """The answer to a request that is refused before its body is read; None: read the body."""
        try:
            route, _, _ = self.table.find(head)
            if not route.open:
                self._check_token(head, route.role)
            if head.has_body and route.body is None:
                raise PageProblem(400, "body", "This request takes no body.")
        except PageProblem as problem:
            return problem.answer()
        return None

    def answer(self, head: RequestHead, body: bytes) -> Page:
        """The answer to a whole request."""
        try:
            route, handler, found = self.table.find(head)
            page = handler(PageRequest(head.headers, route.values(found, head), body))
        except PageProblem as problem:
            return problem.answer()
        return _answered(page) if isinstance(page, Awaitable) else page

    def problem(self, error: Refusal) -> Answer:
        """The answer to bytes that are no request."""
        return PageProblem(error.status, error.reason, error.detail, error.headers).answer()

    def tokens(self) -> Tokens:
        """The tokens in use; empty: no request needs one."""
        wanted, every = self._token(), frozenset(TokenRole)
        return [*([] if wanted is None else [(wanted, every)]), *self._further()]

    def roles(self, token: str) -> frozenset[TokenRole] | None:
        """The roles of a token that was shown, none for a wrong one. None: no request needs a token."""
        tokens = self.tokens()
        return roles_of(token.encode("utf-8", "surrogatepass"), tokens) if tokens else None

    def _check_token(self, head: RequestHead, role: TokenRole) -> None:
        tokens = self.tokens()
        if not tokens:
            return
        given = head.headers.get_all("authorization")
        scheme, _, shown = given[0].partition(" ") if len(given) == 1 else ("", "", "")
        if scheme.lower() != "bearer":
            raise PageProblem(401, "no_token", "Show the token: Authorization: Bearer TOKEN.", (("WWW-Authenticate", CHALLENGE),))
        roles = roles_of(shown.strip(" ").encode("latin-1"), tokens)
        if not roles:
            challenge = f'{CHALLENGE}, error="invalid_token"'
            raise PageProblem(401, "bad_token", "This is not the token.", (("WWW-Authenticate", challenge),))
        if role not in roles:
            challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{role}"'
            raise PageProblem(403, "role", f"This token does not have the role {role}.", (("WWW-Authenticate", challenge),))


async def _answered(page: Awaitable[Answer]) -> Answer:
    try:
        return await page
    except PageProblem as problem:
        return problem.answer()
