"""Pages beside the WebSockets of a listener. An Exchange reads the request and writes the answer."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.python.failure import Failure

from ..core.failed_logins import FailedLogins
from .candidate import Candidate
from .entering import give_up
from .plain_head import PlainHead, make_head
from .request import BadRequest, Head
from .responses import ERROR_HEADERS, http_response


class PlainPage(Protocol):
    """An answer."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> bytes: ...

    @property
    def content_type(self) -> str: ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class ReadyPage:
    """An answer that is kept in memory."""

    body: bytes
    content_type: str
    headers: Sequence[tuple[str, str]]
    status: int = 200


class Answering(Protocol):
    """The side of an exchange that makes the answer."""

    def body(self, data: bytes, more: bool, /) -> None:
        """A piece of the request's body. After the last one `more` is False."""

    def closed(self) -> None:
        """The answer is complete, or the client has gone. Called exactly once, and last."""


class PageAnswer(Protocol):
    """The answer to one request, as an Exchange takes it."""

    def give(self, head: PlainHead, body: bytes, /) -> None:
        """The whole answer."""

    def refuse(self, error: BadRequest, /) -> None:
        """A refusal, and the end of the connection."""

    def broken(self, failure: Failure, /) -> None:
        """The page has failed: a 500."""


class Site(Protocol):
    """The pages of one listener."""

    @property
    def max_body(self) -> int:
        """The longest body of a request, in bytes."""

    def find(self, candidate: Candidate) -> PlainPage | Callable[[PageAnswer], Answering] | None:
        """The answer to a request that is no opening handshake, or a session that makes it once the body is there.

        None if this is for the mounts. May raise BadRequest.
        """


AnswerPage = Callable[[Head], PlainPage | None]
"""The answer to a request for a web page; None where there is no such page. May raise BadRequest."""


class ReadySite:
    """Pages that are kept in memory."""

    max_body = 0

    def __init__(self, pages: Sequence[AnswerPage]) -> None:
        """The first of `pages` that has an answer gives it."""
        self._pages = pages

    def find(self, candidate: Candidate) -> PlainPage | None:
        """As Site says."""
        return next((page for answer in self._pages if (page := answer(candidate.head)) is not None), None)


class PagesOnRequest(Protocol):
    """Pages that are made on request."""

    def refusal(self, head: Head) -> PlainPage | None:
        """The answer to a request whose body is not worth reading; None: read on."""

    def answer(self, head: Head, body: bytes) -> PlainPage | Awaitable[PlainPage]:
        """The answer to a whole request. An awaitable that takes too long is cancelled."""

    def problem(self, error: BadRequest) -> PlainPage:
        """The answer to a request that is refused."""


class MadeSite:
    """Pages that are made on request, at all paths. No answer is kept by a cache."""

    def __init__(self, pages: PagesOnRequest, max_body: int, failed_logins: FailedLogins | None = None) -> None:
        """`failed_logins` logs the credentials that the pages refuse."""
        self.pages = pages
        self.max_body = max_body
        self._failed_logins = failed_logins

    def find(self, candidate: Candidate) -> PlainPage | Callable[[PageAnswer], Answering]:
        """As Site says."""
        head = candidate.head
        refusal = self.pages.refusal(head)
        if refusal is None:
            return lambda answer: PageSession(self.pages, head, answer)
        if self._failed_logins is not None and refusal.status == 401 and "authorization" in head.headers:
            self._failed_logins.add(candidate.peer.host, head.path, "admin_token")
        return ReadyPage(refusal.body, refusal.content_type, (*refusal.headers, *ERROR_HEADERS), refusal.status)

    def refuse(self, error: BadRequest, head_only: bool) -> bytes:
        """The answer to a request that is refused, in the form of these pages."""
        page = self.pages.problem(error)
        return http_response(page.status, (*page.headers, *ERROR_HEADERS), page.body, page.content_type, head_only=head_only)


class PageSession:
    """A request for a page that is made for it."""

    __slots__ = ("_answer", "_body", "_head", "_pages", "_question")

    def __init__(self, pages: PagesOnRequest, head: Head, answer: PageAnswer) -> None:
        self._pages = pages
        self._head = head
        self._answer = answer
        self._body = bytearray()
        self._question: asyncio.Future[PlainPage] | None = None

    def body(self, data: bytes, more: bool) -> None:
        """As Answering says."""
        self._body += data
        if more:
            return
        page = self._pages.answer(self._head, bytes(self._body))
        if isinstance(page, Awaitable):
            self._question = asyncio.ensure_future(page)
            self._question.add_done_callback(self._made)
        else:
            self._give(page)

    def closed(self) -> None:
        """As Answering says."""
        question, self._question = self._question, None
        give_up(question)

    def _give(self, page: PlainPage) -> None:
        give_page(self._answer, page, ERROR_HEADERS)

    def _made(self, question: asyncio.Future[PlainPage]) -> None:
        if question is not self._question:
            if not question.cancelled():
                question.exception()  # looked at, or the loop would log it: the client is gone
            return
        self._question = None
        try:
            self._give(question.result())
        except BadRequest as error:
            self._answer.refuse(error)
        except asyncio.CancelledError:
            self._answer.refuse(BadRequest(503, "cancelled", "The request was given up."))
        except Exception:
            self._answer.broken(Failure())


def give_page(answer: PageAnswer, page: PlainPage, headers: tuple[tuple[str, str], ...] = ()) -> None:
    """PageAnswer with a page, with `headers` behind its own."""
    answer.give(_head(page.status, (*page.headers, *headers, ("Content-Type", page.content_type))), page.body)


@functools.lru_cache(maxsize=64)
def _head(status: int, headers: tuple[tuple[str, str], ...]) -> PlainHead:
    """The head of an answer. Most pages have one of a few."""
    return make_head(status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
