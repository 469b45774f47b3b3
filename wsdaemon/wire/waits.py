"""Waits that a reader makes itself, not its app: if the connection ends first, they are cancelled."""

from __future__ import annotations

import asyncio


class Wait(asyncio.Future[None]):
    """Unlike an app's future it may be cancelled."""

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
