"""The open connections: listed in pages, and closed one by one."""

from __future__ import annotations

from ..connections import Filter, OpenConnections
from .contract import Answer, PageProblem, PageRequest, as_json, asked
from .routes import Handler, Route
from .table import CLOSE_CONNECTION, LIST_CONNECTIONS


class ConnectionPages:
    """The list of `connections`, and the way to close one."""

    def __init__(self, connections: OpenConnections) -> None:
        self._connections = connections

    def pages(self) -> list[tuple[Route, Handler]]:
        return [(LIST_CONNECTIONS, self.listing), (CLOSE_CONNECTION, self.close)]

    async def listing(self, request: PageRequest) -> Answer:
        values = request.values
        wanted = Filter(values["mount"], values["listener"], values["user"], values["address"])
        page = await asked(self._connections.page(wanted, values["after"], values["limit"]))
        content = {"connections": page.connections, "count": page.count}
        return as_json({**content, "after": page.connections[-1]["id"]} if page.more and page.connections else content)

    async def close(self, request: PageRequest) -> Answer:
        values = request.values
        id, code = values["id"], values["code"]
        if not await asked(self._connections.close(id, code, values["reason"])):
            raise PageProblem(404, "no_connection", "No open connection has this id.")
        return as_json({"id": id, "code": code})
