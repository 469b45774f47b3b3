"""The console's test tool on a public listener (`console = on`)."""

from __future__ import annotations

from ..edge.pages import Pages
from ..ops.console.files import POLICY, page, parts

PUBLIC_PATH = "/console"
"""The path of the test tool on a listener with `console = on`."""


def public_console() -> Pages:
    """The test tool alone, for a listener: it knows nothing of the daemon, and needs no token."""
    pages = Pages()
    for file in (page(f"{PUBLIC_PATH}/", whole=False), *parts().values()):
        path = PUBLIC_PATH if file.content_type.startswith("text/html") else f"{PUBLIC_PATH}/{file.name}"
        pages.add_content(path, file.name, file.body, POLICY)
    return pages
