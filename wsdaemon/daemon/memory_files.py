"""Content that goes to another process as a memory file, because it may be longer than a message."""

from __future__ import annotations

import os
from typing import Final

MAX_BYTES: Final = 64 << 20
"""More of a file is not read."""


def write_memory(content: bytes) -> int:
    """A memory file with this content; its descriptor, which the caller closes."""
    descriptor = os.memfd_create("wsdaemon-content", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(descriptor), "wb") as memory:
        memory.write(content)
    return descriptor


def read_memory(descriptor: int) -> bytes:
    """The content of a memory file. The descriptor stays open."""
    size = min(os.fstat(descriptor).st_size, MAX_BYTES)
    parts, at = [], 0
    while at < size and (part := os.pread(descriptor, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
