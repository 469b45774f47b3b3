"""What a reader waits for by itself, and not for its app: it need not be waited for when the connection is over before."""

from __future__ import annotations

import asyncio


class Wait(asyncio.Future[None]):
    """Unlike what an app waits for it may be cancelled."""

    def __init__(self) -> None:
        super().__init__(loop=asyncio.get_running_loop())


class Pause(Wait):
    """Done after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._timer = self.get_loop().call_later(seconds, self._passed)

    def _passed(self) -> None:
        if not self.done():
            self.set_result(None)

    def cancel(self, msg: object = None) -> bool:
        self._timer.cancel()
        return super().cancel()
