"""Files whose changes are taken into use while the daemon runs, as health pages and metrics see them."""

from __future__ import annotations

from typing import Protocol


class Reloading(Protocol):
    """A password file, a key, a token or a certificate."""

    @property
    def source(self) -> str:
        """The INI key that names the file, such as `[auth:staff] file`; for a certificate its path."""

    @property
    def failures(self) -> int:
        """How many times a changed file could not be used since the start."""

    def problem(self) -> str | None:
        """Why the content in use is older than the file, as one line; None when the file is in use as it is."""
