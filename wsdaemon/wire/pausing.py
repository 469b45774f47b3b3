"""When a wire reads no further: while the app wants to wait, and while others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from ..core.closing import ConnectionClosed
from .meter import Meter
from .output import Output

if TYPE_CHECKING:
    from .turns import Turns


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


class Pausing(Output):
    """What had been read when reading stopped stays in `held` (messages) and `unread` (bytes).

    `wire_waiting` is what the app wants to wait for, or a Pause. `wire_deferred`: the connection has used up its time, and waits for its
    turn. `heard`: the client has shown itself since it was pinged.
    """

    __slots__ = ("heard", "held", "live", "meter", "unread", "wire_deferred", "wire_waiting")

    wire_turns: Turns
    """Of the mount."""

    def __init__(self) -> None:
        super().__init__()
        self.live = False
        self.heard = False
        self.wire_deferred = False
        self.wire_waiting: asyncio.Future[Any] | None = None
        self.held: list[Any] | None = None
        self.unread = b""
        self.meter: Meter | None = None

    def _hold(self, awaitable: Awaitable[object], messages: list[Any]) -> None:
        """Read no further until `awaitable` is done."""
        if isinstance(awaitable, Deferred):
            awaitable = awaitable.asFuture(asyncio.get_running_loop())
        self.held = messages
        self.wire_waiting = asyncio.ensure_future(awaitable)
        self.wire_waiting.add_done_callback(self._go_on)
        if self.native is not None and self.live:
            self.native.pause_reading()

    def _go_on(self, done: asyncio.Future[Any]) -> None:
        """The app is ready for more."""
        self.wire_waiting = None
        self.heard = True  # what the client sent meanwhile, an answer to a ping maybe, is not read yet
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, ConnectionClosed):
            self.app_failed("receiving a message", error)
        if self.native is None:
            self.closed_last()
        else:
            self.wire_go_on()

    @property
    def wire_stopped(self) -> bool:
        """Whether nothing is to be read now. A connection that closes waits for no app: only the client's Close frame is looked for."""
        return self.wire_deferred or (self.wire_waiting is not None and self.live)

    def _defer(self) -> None:
        """Read on in a later turn of the loop."""
        if not self.wire_deferred and self.native is not None:
            self.wire_deferred = True
            self.native.pause_reading()
            self.wire_turns.add(self)

    def wire_read_on(self) -> None:
        """It is this connection's turn again."""
        self.wire_deferred = False
        self.wire_go_on()

    def wire_go_on(self) -> None:
        """Read what waits, and then the transport, unless there is something else to wait for."""
        if self.native is None or self.wire_stopped:
            return
        self.wire_together(self.wire_catch_up)
        if self.native is not None and not self.wire_stopped:
            self.native.resume_reading()

    def wire_catch_up(self) -> None:
        if self.meter is not None:  # an app that always wants to wait must not hide that its client is too fast
            self._pay(self.meter)
        if not self.wire_stopped:
            self._read_held()

    def wire_together(self, work: Callable[[], object]) -> None:
        """Do `work`; what it sends leaves in one write at its end. Its exception is our own fault, and ends this connection alone."""
        self.corked = True
        try:
            work()
        except Exception as error:
            self.broken(error)
        finally:
            self.corked = False
            if self.out is not None:
                self.flush()

    # -- what the wire does about it

    def _pay(self, meter: Meter) -> None:
        raise NotImplementedError

    def _read_held(self) -> None:
        raise NotImplementedError

    def app_failed(self, doing: str, error: BaseException) -> None:
        raise NotImplementedError

    def broken(self, error: Exception) -> None:
        raise NotImplementedError

    def closed_last(self) -> None:
        raise NotImplementedError
