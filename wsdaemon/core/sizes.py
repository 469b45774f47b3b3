"""Numbers of bytes for people."""

from __future__ import annotations


def size_text(count: float) -> str:
    """A number of bytes as ``512 B``, ``3.4 KiB``, ``1.0 MiB``."""
    whole = round(count)
    if -1024 < whole < 1024:
        return f"{whole} B"
    size = float(whole)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if abs(size) < 1023.95:  # a size that would be rounded to 1024.0 belongs to the next unit
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
