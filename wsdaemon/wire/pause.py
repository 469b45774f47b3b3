"""A wait that ends by itself."""

from __future__ import annotations

import asyncio


class Pause(asyncio.Future[None]):
    """Done after some seconds. Unlike what an app waits for it may be cancelled, when the connection is over before."""

    def __init__(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(loop=loop)
        self._timer = loop.call_later(seconds, self._passed)

    def _passed(self) -> None:
        if not self.done():
            self.set_result(None)

    def cancel(self, msg: object = None) -> bool:
        self._timer.cancel()
        return super().cancel()
