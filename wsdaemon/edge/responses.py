"""Plain HTTP/1.1 answers as bytes: pages and errors. The 101 of an opening handshake is not made here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from ..core.acceptance import HandshakeRefused
from .request import BadRequest

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_NO_BODY = (204, 304)

ERROR_HEADERS = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))
"""Go with every error: it is never kept by a cache nor taken for a page."""


def phrase(status: int) -> str:
    """The reason phrase that belongs to a status code; empty for a code that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def http_response(
    status: int,
    headers: Iterable[tuple[str, str]] = (),
    body: str | bytes = "",
    content_type: str = "text/plain; charset=utf-8",
    close: bool = True,
    head_only: bool = False,
) -> bytes:
    """A full answer: status line, headers, Content-Length, body.

    `close` adds `Connection: close`, to what `headers` has of Connection already. `head_only` leaves the body out and keeps its length: the
    answer to HEAD. A status of 204 or 304 has no body. ValueError for a status outside 200 to 599, for a header that could break out of its
    line, and for the headers that are made here.
    """
    if not 200 <= status <= 599:
        raise ValueError(f"not the status of a full answer: {status}")
    payload = body.encode("utf-8") if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {phrase(status)}", "Server: wsdaemon"]
    options = []
    for name, value in headers:
        _check_header(name, value)
        if name.lower() == "connection":
            options.append(value)
        else:
            lines.append(f"{name}: {value}")
    if status in _NO_BODY:
        payload = b""
    else:
        _check_header("Content-Type", content_type)
        lines += [f"Content-Type: {content_type}", f"Content-Length: {len(payload)}"]
    if close:
        options.append("close")
    if options:
        lines.append("Connection: " + ", ".join(options))
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if head_only else head + payload


def app_response(refused: HandshakeRefused) -> bytes:
    """The answer of an app that refuses an opening handshake, its headers as it gave them."""
    status, payload = refused.status, b"" if refused.status in _NO_BODY else refused.body
    names = {name.lower() for name, _ in refused.headers}
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *[f"{name}: {value}" for name, value in refused.headers]]
    if "server" not in names:
        lines.insert(1, "Server: wsdaemon")
    if payload and "content-type" not in names:
        lines.append("Content-Type: text/plain; charset=utf-8")
    if status not in _NO_BODY:
        lines.append(f"Content-Length: {len(payload)}")
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + payload


def _check_header(name: str, value: str) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError(f"not a header: {name!r}: {value!r}")
    if name.lower() in ("content-length", "transfer-encoding", "server"):
        raise ValueError(f"{name} is not the caller's to give")


def error_response(
    error: BadRequest | int, detail: str = "", headers: Iterable[tuple[str, str]] = (), close: bool = True, head_only: bool = False
) -> bytes:
    """An error as plain text: the status and, where there is one, a sentence. `headers` come after the error's own."""
    if isinstance(error, BadRequest):
        status, detail, headers = error.status, detail or error.detail, (*error.headers, *headers)
    else:
        status = error
    text = f"{status} {phrase(status)}\n" + (f"{detail}\n" if detail else "")
    return http_response(status, (*headers, *ERROR_HEADERS), text, close=close, head_only=head_only)
