"""The Autobahn side of connections: bytes, frames and messages in both directions. Only this room imports autobahn."""

from __future__ import annotations

import sys


def _import_without_click() -> None:
    """Import Autobahn's helpers as if click were not installed.

    With click, Autobahn colours the arguments of its debug lines, also of those that are not logged: each opening and closing handshake
    costs a quarter more, and the process holds 2 MB more. Programs that import click themselves get it as ever.
    """
    if "autobahn.util" in sys.modules or "click" in sys.modules:
        return
    sys.modules["click"] = None  # type: ignore[assignment]
    try:
        import autobahn.util
    finally:
        del sys.modules["click"]
    assert autobahn.util is not None


_import_without_click()
