"""The console's page and its parts, and the latest closes, which it shows. The files need no token, because nothing secret is in them."""

from __future__ import annotations

from ..console.files import HEADERS, ConsoleFile, page, parts
from ..latest_closes import Closes
from .contract import Answer, PageProblem, PageRequest, as_json, asked
from .routes import Handler, Route
from .table import CONSOLE, CONSOLE_FILE, LIST_CLOSES

FOLDER = "/console/"


class ConsolePages:
    """The console of this daemon."""

    def __init__(self, closes: Closes) -> None:
        self._closes = closes
        self._page = page(FOLDER, whole=True)

    def pages(self) -> list[tuple[Route, Handler]]:
        return [(CONSOLE, self.console), (CONSOLE_FILE, self.file), (LIST_CLOSES, self.closes)]

    def console(self, request: PageRequest) -> Answer:
        return _file(self._page)

    def file(self, request: PageRequest) -> Answer:
        found = parts().get(request.values["file"])
        if found is None:
            raise PageProblem(404, "no_page", "The console has no such file.")
        return _file(found)

    async def closes(self, request: PageRequest) -> Answer:
        return as_json({"closes": await asked(self._closes.latest(request.values["limit"]))})


def _file(file: ConsoleFile) -> Answer:
    return Answer(200, file.body, file.content_type, HEADERS)
