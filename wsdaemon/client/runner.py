"""A client's own thread and loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

import uvloop


def run(main: Callable[[], Coroutine[Any, Any, None]], close: Callable[[], object]) -> None:
    """Run `main()` on a loop of its own, in this thread. Its exception is raised here.

    At a KeyboardInterrupt `close` is called on the loop, and `main` may end in good order before the exception goes on.
    """
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a loop runs in this thread already: use `async with client`, or start()")
    loop = cast(asyncio.AbstractEventLoop, uvloop.new_event_loop())
    asyncio.set_event_loop(loop)
    try:
        task = loop.create_task(main())
        try:
            loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                loop.call_soon(close)
                loop.run_until_complete(asyncio.wait([task]))
            raise
    finally:
        asyncio.set_event_loop(None)
        _end(loop)
        loop.close()


def _end(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the work that is left on a loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=1.0))
    loop.run_until_complete(loop.shutdown_asyncgens())


class Runner:
    """The thread of a client that runs beside its program."""

    __slots__ = ("_thread",)

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Do `work` in a new thread. RuntimeError while the one before is at work."""
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError("the client runs already")
        self._thread = threading.Thread(target=work, name="wsdaemon-client", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended; not in the thread itself."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None
