"""A few web pages beside the WebSockets of a listener, so that a page comes from the very origin that it connects to.

Not a web server: each page is one file, read when it is added and kept in memory. A path is looked up as it is, so no request can reach
another file. There are no directories, ranges, caches or compressed answers.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .request import BadRequest, Head

_INLINE = re.compile(rb"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Page:
    """The page for one path."""

    name: str
    body: bytes
    content_type: str
    headers: tuple[tuple[str, str], ...]
    status: int = 200


class Pages:
    """The pages of one server, by path."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}

    def __bool__(self) -> bool:
        return bool(self._pages)

    def add(self, path: str, file: str | os.PathLike[str]) -> None:
        """Read `file` and give it out at `path`, which begins with a slash. OSError when it cannot be read, ValueError for a bad path.

        Its content type goes by the end of its name. Text is in UTF-8.
        """
        if not path.startswith("/"):
            raise ValueError(f"expected a path that begins with a slash, such as /chat: {path!r}")
        self.add_content(path, Path(file).name, Path(file).read_bytes())

    def add_content(self, path: str, name: str, body: bytes, policy: str | None = None) -> None:
        """Give out the content of a file of this name at `path`. `policy`: its Content-Security-Policy, in the place of the usual one."""
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        text = kind.startswith("text/") or kind in ("application/javascript", "image/svg+xml")
        headers = (
            ("Content-Security-Policy", policy or content_security_policy(body if kind == "text/html" else b"")),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        )
        self._pages[path] = Page(name, body, f"{kind}; charset=utf-8" if text else kind, headers)

    @property
    def contents(self) -> dict[str, tuple[str, bytes]]:
        """The name and content of each page's file, by path."""
        return {path: (page.name, page.body) for path, page in self._pages.items()}

    def answer(self, head: Head) -> Page | None:
        """The answer to a request that is no opening handshake; None where there is no page. BadRequest, 405, for other methods."""
        page = self._pages.get(head.path)
        if page is None:
            return None
        if head.method not in ("GET", "HEAD"):
            raise BadRequest(405, "method", "This is a page: GET it.", (("Allow", "GET, HEAD"),))
        return page


def content_security_policy(page: bytes) -> str:
    """A policy (CSP level 3) that lets a page use what comes from its own origin, and run the scripts and styles that stand in it.

    Those are named by their hashes: a script that a message brings into the page never runs.
    """
    allowed: dict[bytes, list[str]] = {b"script": [], b"style": []}
    for element, text in _INLINE.findall(page):
        # A browser sees every end of a line as LF before it hashes.
        digest = hashlib.sha256(text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).digest()
        allowed[element.lower()].append(f" 'sha256-{base64.b64encode(digest).decode()}'")
    return (
        f"default-src 'self'; script-src 'self'{''.join(allowed[b'script'])}; style-src 'self'{''.join(allowed[b'style'])}; "
        "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
