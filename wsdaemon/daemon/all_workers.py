"""A worker's questions to all workers, by way of the supervisor, and its answers to theirs: ops.workers.Workers. See `gathering`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.rare_lines import LineLog, RareLines
from ..ops.workers import Answer, Gathered, WorkersAway, WorkerView
from .channel import Message, close_all
from .memory_files import read_memory, write_memory

PATIENCE_SECONDS = 3.0
"""The supervisor answers within a second, unless it hangs itself."""

MAX_OPEN = 32
"""Questions of this worker that wait, and those that the supervisor may owe an answer to, also when their patience is over. Fewer than the
messages that end a channel, so that a supervisor that stands still for a while is not taken for dead."""

MAX_ASKED = 64
"""Questions of others that are answered at once. Further ones get no answer."""

log = Logger(namespace="wsdaemon.admin")

Send = Callable[..., None]
"""Channel.send: kind, descriptors, and fields."""


class AllWorkers:
    """All workers, seen from one of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send, line_log: LineLog = log) -> None:
        self._loop = loop
        self._send = send
        self._lines = RareLines(line_log)
        self._answers: dict[str, Answer] = {}
        self._questions: dict[int, asyncio.Future[Gathered]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last = 0
        self._owed = 0  # questions since the supervisor's last answer

    def provide(self, what: str, answer: Answer) -> None:
        self._answers[what] = answer

    async def gather(self, what: str, question: Mapping[str, Any], own: Any) -> Gathered:
        """As ops.workers.Workers."""
        if len(self._questions) >= MAX_OPEN or self._owed >= MAX_OPEN:
            raise WorkersAway("the supervisor has not answered earlier questions")
        self._last += 1
        self._owed += 1
        number, future = self._last, self._loop.create_future()
        self._questions[number] = future
        try:
            self._send_content("gather", own, request=number, what=what, question=dict(question))
            return await asyncio.wait_for(future, PATIENCE_SECONDS)
        except TimeoutError:
            raise WorkersAway("the supervisor does not answer") from None
        finally:
            del self._questions[number]

    async def tell_last(self, what: str) -> None:
        """The last answer of this worker, because it ends."""
        if what in self._answers:
            self._send_content("told", await self._answers[what]({}), what=what)

    def received(self, message: Message, descriptors: Sequence[int]) -> bool:
        """A message of the supervisor. Whether it was one of these; then its descriptors are closed."""
        kind = message["kind"]
        if kind == "asked":
            self._asked(message)
        elif kind == "gathered":
            self._owed = 0
            future = self._questions.get(int(message["request"]))
            if future is not None and not future.done() and descriptors:  # none if this process has too many open files
                told = json.loads(read_memory(descriptors[0]))
                views = [WorkerView(*view) for view in told["workers"]]
                found = Gathered(told["state"], told["pid"], told["started_at"], views, told["answers"], told.get("ended"))
                future.set_result(found)
        else:
            return False
        close_all(descriptors)
        return True

    def _asked(self, message: Message) -> None:
        answer = self._answers.get(message["what"])
        if answer is not None and len(self._tasks) < MAX_ASKED:
            task = self._loop.create_task(self._tell(answer, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, answer: Answer, message: Message) -> None:
        what, request = message["what"], message["request"]
        try:
            content = await answer(message["question"])
        except Exception:
            self._lines.failure(what, "the question of another worker for {what} could not be answered", Failure(), what=what)
            return
        self._send_content("told", content, request=request, what=what)

    def _send_content(self, kind: str, content: Any, **fields: object) -> None:
        descriptor = write_memory(json.dumps(content, separators=(",", ":")).encode())
        try:
            self._send(kind, [descriptor], **fields)
        finally:
            close_all([descriptor])
