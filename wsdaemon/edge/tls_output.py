"""Cuts written data into pieces that OpenSSL encrypts at once: few records, no large copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MAX_WRITE = 32_768
"""Bytes encrypted at once. OpenSSL keeps a buffer of that size for each connection that ever wrote so much."""

MAX_GATHERED = 131_072
"""Encrypted bytes from which they are given to the plain transport."""


def chunks(list_of_data: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """The same bytes in pieces of MAX_WRITE and a last one: small ones are joined, large ones are not copied but for their edges."""
    small: list[bytes | memoryview] = []
    size = 0
    for data in list_of_data:
        view, at = memoryview(data), 0
        while size + len(view) - at >= MAX_WRITE:
            end = at + MAX_WRITE - size
            if small:
                yield b"".join([*small, view[at:end]])
                small, size = [], 0
            else:
                yield view[at:end]
            at = end
        if at < len(view):
            small.append(view[at:])
            size += len(view) - at
    if small:
        yield b"".join(small)
