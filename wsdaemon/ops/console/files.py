"""The console's files as they are given out: the page with the paths of its parts, and the headers that keep everything else out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
}
"""The content type by the end of a file's name."""

PAGE = "console.html"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: no script and no style but these files. A page may open WebSockets anywhere, because it tests them."""

HEADERS = (("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer"), ("Cross-Origin-Opener-Policy", "same-origin"))


@dataclass(frozen=True, slots=True)
class ConsoleFile:
    """One file."""

    name: str
    body: bytes
    content_type: str


@cache
def parts() -> Mapping[str, ConsoleFile]:
    """The files beside the page, by name."""
    folder = resources.files(__package__).joinpath("page")
    found = [one for one in folder.iterdir() if one.name.rpartition(".")[2] in ("css", "js")]
    return {one.name: ConsoleFile(one.name, one.read_bytes(), TYPES[one.name.rpartition(".")[2]]) for one in found}


def page(base: str, whole: bool) -> ConsoleFile:
    """The page. `base` is the path of the folder of its parts, with a slash at its end; not `whole`: the test tool alone."""
    text = resources.files(__package__).joinpath("page", PAGE).read_text("utf-8")
    text = text.replace("{base}", base).replace("{only}", "" if whole else "try")
    return ConsoleFile(PAGE, text.encode(), TYPES["html"])
