"""Text files as editors and shells write them: the marks that must not become part of a name or a secret."""

from __future__ import annotations

_MARKS = (
    (b"\xef\xbb\xbf", "the file starts with a byte order mark; save it as plain UTF-8, without one"),
    (b"\xff\xfe", "the file is UTF-16; save it as plain UTF-8"),
    (b"\xfe\xff", "the file is UTF-16; save it as plain UTF-8"),
)


def byte_order_mark(content: bytes) -> str | None:
    """The problem of a file that starts with a byte order mark, as a phrase for the operator; None for every other file.

    Every file that wsdaemon reads refuses the mark in the same words: dropped here, it would still be part of the secret or the name
    that the other side reads from its copy of the file.
    """
    return next((problem for mark, problem in _MARKS if content.startswith(mark)), None)


def first_line(content: bytes) -> bytes:
    """The content without the end of its last line: LF, CRLF or none."""
    return content.removesuffix(b"\n").removesuffix(b"\r")
