"""Open files: the limit on them is raised at the start, and the last ones are kept for other uses than new clients.

Each connection takes a descriptor. A process that has none left can neither accept nor refuse: newcomers wait in the listening socket
without an answer, and certificates, key files and the log cannot be opened either.
"""

from __future__ import annotations

import os
import resource

RESERVED_DESCRIPTORS = 64
"""Descriptors that no client gets, out of a limit that allows it."""


def raise_limit(wanted: int) -> int:
    """Raise the soft limit of open files to `wanted` and the reserve, as far as the hard limit lets it; the limit that now holds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted + RESERVED_DESCRIPTORS
    target = wanted + RESERVED_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        target = min(target, hard)
    if target > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        except (OSError, ValueError):  # a container may forbid it
            return soft
        soft = target
    return soft


def first_reserved() -> int:
    """The lowest descriptor that no client gets.

    The system gives out the lowest number that is free, so a client with this number or a higher one shows that all lower ones are in use.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return 1 << 31
    return without_reserve(soft)


def without_reserve(limit: int) -> int:
    """The descriptors that clients may get of so many."""
    return limit - min(RESERVED_DESCRIPTORS, limit // 8)


def has_room() -> bool:
    """Whether a new client would get a descriptor that is not reserved."""
    try:
        lowest_free = os.eventfd(0, os.EFD_CLOEXEC)
    except OSError:
        return False
    os.close(lowest_free)
    return lowest_free < first_reserved()
