"""A process that ends with its parent: the kernel tells it."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

_PR_SET_PDEATHSIG: Final = 1


def end_with(parent: int, number: int) -> None:
    """Have the kernel send this process the signal `number` when its parent dies (prctl(2)). If it is dead already, end with status 1."""
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel knew
        sys.exit(1)
