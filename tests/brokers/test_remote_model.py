"""Random use of two processes whose links are slow, cut, double and reorder: nothing is lost, nothing comes twice, or a gap is told.

The model itself is in remote_model.py.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.remote_model import Follower, World
from wsdaemon.brokers.errors import Busy

ROOMS = st.sampled_from(["a.b", "a.b", "a.b", "a.c", "a"])
PATTERNS = st.sampled_from(["a.*", "*.b", ">", "a"])
WHO = st.integers(0, 3)
PROCESS = st.integers(0, 1)


class RemoteModel(RuleBasedStateMachine):
    """Everything that may happen, in any order."""

    world: World | None = None

    @initialize(latest=st.booleans(), max_members=st.sampled_from([9, 9, 1]), max_pending=st.sampled_from([64, 64, 2]))
    def build(self, latest: bool, max_members: int, max_pending: int) -> None:
        self.world = World(latest=latest, max_members=max_members, max_pending=max_pending, history=100)
        self.published = 0
        for process in self.world.processes:
            process.link.connect()

    @property
    def made(self) -> World:
        assert self.world is not None
        return self.world

    def follower(self, who: int) -> Follower:
        return self.made.followers[who]

    @rule(who=WHO, room=ROOMS, resume=st.booleans(), presence=st.booleans())
    def subscribe(self, who: int, room: str, resume: bool, presence: bool) -> None:
        follower = self.follower(who)
        if follower.busy or room in follower.joined:
            return
        follower.busy = True
        self.made.loop.create_task(follower.subscribe(room, resume, presence))
        self.made.loop.settle()

    @rule(who=WHO, pattern=PATTERNS, resume=st.booleans())
    def subscribe_pattern(self, who: int, pattern: str, resume: bool) -> None:
        follower = self.follower(who)
        if follower.busy or pattern in follower.patterns:
            return
        follower.busy = True
        self.made.loop.create_task(follower.subscribe_pattern(pattern, resume))
        self.made.loop.settle()

    @rule(who=WHO, room=ROOMS)
    def unsubscribe(self, who: int, room: str) -> None:
        self.follower(who).leave(room)

    @rule(who=WHO, pattern=PATTERNS)
    def unsubscribe_pattern(self, who: int, pattern: str) -> None:
        self.follower(who).leave_pattern(pattern)

    @rule(who=WHO)
    def remove(self, who: int) -> None:
        self.follower(who).remove()

    @rule(process=PROCESS, room=ROOMS, count=st.integers(1, 3), who=st.one_of(st.none(), WHO), key=st.sampled_from([None, None, "k"]))
    def publish(self, process: int, room: str, count: int, who: int | None, key: str | None) -> None:
        follower = None if who is None else self.follower(who)
        broker = (self.made.processes[process] if follower is None else follower.process).broker
        for _ in range(count):
            self.published += 1
            payload = str(self.published).encode()
            publisher = None if follower is None else follower.id
            try:
                answer = broker.publish(room, payload, True, publisher=publisher, key=key, echo=follower is None)
            except Busy:
                return
            answer.add_done_callback(lambda answer: answer.exception())

    @rule(process=PROCESS, count=st.integers(1, 5))
    def ask(self, process: int, count: int) -> None:
        for _ in range(count):
            self.made.processes[process].link.ask_next()
        self.made.loop.settle()

    @rule(process=PROCESS, index=st.sampled_from([0, 0, 0, 1, -1]), twice=st.booleans(), count=st.integers(1, 4))
    def deliver(self, process: int, index: int, twice: bool, count: int) -> None:
        for _ in range(count):
            self.made.processes[process].link.deliver(index, twice)
        self.made.loop.settle()

    @rule(process=PROCESS)
    def cut(self, process: int) -> None:
        self.made.processes[process].link.cut("cut")

    @rule(process=PROCESS)
    def connect(self, process: int) -> None:
        if not self.made.processes[process].link.connected:
            self.made.processes[process].link.connect()

    @rule(process=PROCESS, room=ROOMS, count=st.integers(0, 3), before=st.booleans())
    def away(self, process: int, room: str, count: int, before: bool) -> None:
        """A cut, with publications by the other process meanwhile."""
        self.cut(process)
        self.publish(1 - process, room, count, None, None)
        if before:
            self.connect(1 - process)
            self.made.processes[1 - process].link.settle()
        self.connect(process)

    @rule(room=ROOMS, count=st.integers(0, 2))
    def trim(self, room: str, count: int) -> None:
        self.made.order.trim(room, count)

    @rule()
    def restart(self) -> None:
        self.made.order.restart()

    @rule(seconds=st.sampled_from([0.1, 0.3, 2.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.made.loop.advance(seconds)
        for process in self.made.processes:
            process.broker.sweep()

    @rule()
    def settle(self) -> None:
        self.made.settle()

    @rule()
    def finish(self) -> None:
        self.made.rest()
        self.made.check()

    @invariant()
    def nothing_failed(self) -> None:
        if self.world is not None:
            self.world.loop.settle()
            self.world.check_nothing_failed()

    def teardown(self) -> None:
        if self.world is not None:
            self.world.rest()
            self.world.check()
            for follower in self.world.followers:
                follower.remove()
            self.world.end()


TestRemoteModel = RemoteModel.TestCase
TestRemoteModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
