"""The name of a process in `ps`, as in `wsdaemon: worker 2`.

The kernel shows the arguments that a process was started with from the memory of that process, so they are overwritten there. The library
setproctitle does the same and more: it also moves the environment away to make room for names longer than the arguments, in C and before
`main`. Our children's arguments are ours and longer than any of these names, so the daemon does without another compiled package.
"""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from typing import Final

ARGUMENTS_BEGIN: Final = 48
ARGUMENTS_END: Final = 49
"""Fields of /proc/PID/stat, counted from 1; proc_pid_stat(5)."""


def name_process(title: str, short: str, proc: Path = Path("/proc/self")) -> bool:
    """Show `title` instead of the arguments, and `short` (up to 15 characters) as the command. False if the arguments stay.

    They stay if the system does not say where they are, or if they are shorter than the title.
    """
    with contextlib.suppress(OSError):
        (proc / "comm").write_text(short)
    try:
        fields = (proc / "stat").read_text().rpartition(")")[2].split()
        begin, end = int(fields[ARGUMENTS_BEGIN - 3]), int(fields[ARGUMENTS_END - 3])
        shown = (proc / "cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return False
    name = title.encode()
    if not begin or end - begin != len(shown) or len(name) >= len(shown) or ctypes.string_at(begin, len(shown)) != shown:
        return False
    ctypes.memmove(begin, name.ljust(len(shown), b"\0"), len(shown))
    return True
