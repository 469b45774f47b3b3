"""What a room still owes its members: what was published and is not yet delivered to everyone.

It waits in the room's `Outbox`, a queue that the `Fan` delivers in slices, so that a room of ten thousand members does not hold up the
loop.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from itertools import islice
from operator import length_hint

from .budget import DELIVERY_BYTES, MESSAGE_BYTES, Budget
from .contract import Bulk, Failed, Held, Member, Message
from .presence import NoticePass, PresenceChanges

MAX_CHANGES_WHILE_HELD = 1000
"""Changes of presence, and members who left, that gather while a room waits for slow members; with one more it waits no longer."""


class Outbox:
    """What a room owes its members, in order. The head of `pending` may be half delivered.

    `settled`: members, by id, that are owed nothing up to an offset, though they are among those that a waiting delivery was meant for.
    `presence`: watchers and changes, in a room that was ever watched. `waiting`: messages that not every member was given yet. `held`:
    the first of `pending`, while it waits for members that have no room for it.
    """

    __slots__ = ("held", "name", "pending", "presence", "settled", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.pending: list[Delivery | NoticePass] = []
        self.settled: dict[str, int] = {}
        self.presence: PresenceChanges | None = None
        self.waiting = 0
        self.held: Delivery | None = None

    @property
    def overdue(self) -> bool:
        """Whether the room has too many pending changes to keep waiting for slow members."""
        return len(self.settled) > MAX_CHANGES_WHILE_HELD or (self.presence is not None and len(self.presence) > MAX_CHANGES_WHILE_HELD)

    def forget_settled(self) -> None:
        """Drop from `settled` what no waiting delivery needs any more: a room that is never at rest must not gather those who left it."""
        oldest = next((item.messages[0].offset for item in self.pending if isinstance(item, Delivery)), None)
        self.settled = {key: offset for key, offset in self.settled.items() if oldest is not None and offset >= oldest}

    def catch_up(self, member: Member) -> None:
        """Deliver at once what waits for this one member. What its `deliver` raises comes through."""
        for item in self.pending:  # not a copy: what the member publishes meanwhile is its too
            if isinstance(item, Delivery) and item.owes(member):
                for message in item.messages:
                    if self.settled.get(member.id, 0) < message.offset:
                        self.settled[member.id] = message.offset
                        member.deliver(message)


MAX_JOINED_BYTES = 64 * 1024
"""Bytes of payload up to which messages that wait for the same members are delivered together."""


class Delivery:
    """Messages on their way to those who were members when they were published, but for `skip`. A member that is given one is given all."""

    __slots__ = ("_rest", "_size", "_skip", "_targets", "begun", "cost", "messages")

    def __init__(self, message: Message, targets: tuple[Member, ...], skip: Member | None) -> None:
        self.messages = [message]
        self._targets = targets
        self._rest = iter(targets)  # the iterator is the cursor: it moves before each deliver, whatever that does
        self._skip = skip
        self.begun = False
        self.cost = self._size = 0

    @property
    def left(self) -> int:
        """How many members are not yet looked at."""
        return length_hint(self._rest)

    def owed(self, outbox: Outbox) -> Sequence[Member]:
        """The members that it goes to, if it is not begun."""
        skip, settled, last = self._skip, outbox.settled, self.messages[-1].offset
        if skip is None and not settled:
            return self._targets
        return [member for member in self._targets if member is not skip and settled.get(member.id, 0) < last]

    def join(self, message: Message, targets: tuple[Member, ...], skip: Member | None) -> bool:
        """Take along a message for the very same members, unless the delivery has begun or would be too large."""
        if self.begun or targets is not self._targets or skip is not self._skip:
            return False
        size = self._size + len(message.payload)
        if size > MAX_JOINED_BYTES:
            return False
        self.messages.append(message)
        self._size = size
        return True

    def wait(self, budget: Budget) -> None:
        """Count while it waits. A delivery that is made inside the call that publishes does not count."""
        message = self.messages[0]
        size = self._size = len(message.payload)
        self.cost = cost = DELIVERY_BYTES + 8 * len(self._targets)
        if message.holds:
            budget.used += cost
        else:
            size += MESSAGE_BYTES
            (message.account or budget.house).bytes += size
            budget.used += cost + size
        message.holds += 1

    def owes(self, member: Member) -> bool:
        """Whether this member has not had its turn yet."""
        return member is not self._skip and member in copy(self._rest)

    def run(self, outbox: Outbox, budget: int | None, failed: Failed, bulk: Bulk | None = None) -> int:
        """Deliver to the next `budget` members, or to all. How many that were."""
        if not self.begun and (budget is None or len(self._targets) <= budget):
            return self._run_whole(outbox, failed, bulk)
        self.begun = True
        before = self.left
        if bulk is None:
            self._one_by_one(islice(self._rest, budget), outbox, failed)
        else:
            self._in_bulk(list(islice(self._rest, budget)), outbox, bulk, failed)
        return before - self.left

    def _run_whole(self, outbox: Outbox, failed: Failed, bulk: Bulk | None) -> int:
        self.begun = True
        if bulk is None:
            self._one_by_one(self._rest, outbox, failed)
        else:
            self._rest = iter(())
            self._in_bulk(self._targets, outbox, bulk, failed)
        return len(self._targets)

    def _one_by_one(self, members: Iterator[Member], outbox: Outbox, failed: Failed) -> None:
        skip, settled = self._skip, outbox.settled
        for member in members:
            if member is skip:
                continue
            for message in self.messages:
                if settled and settled.get(member.id, 0) >= message.offset:
                    continue
                try:
                    member.deliver(message)
                except Exception as error:  # one member's fault must not keep the message from the others
                    failed(member, error)
                    break

    def _in_bulk(self, members: Sequence[Member], outbox: Outbox, bulk: Bulk, failed: Failed) -> None:
        skip, settled, messages = self._skip, outbox.settled, self.messages
        if skip is not None:
            members = [member for member in members if member is not skip]
        if settled:
            first = messages[0].offset
            for member in members:
                upto = settled.get(member.id, 0)
                if first <= upto < messages[-1].offset:
                    _give((member,), [message for message in messages if message.offset > upto], bulk, failed)
            members = [member for member in members if settled.get(member.id, 0) < first]
        if members:
            _give(members, messages, bulk, failed)

    def finish(self, outbox: Outbox, budget: Budget) -> None:
        """Every member was given the messages, or none is to be given them any more."""
        messages, freed = self.messages, self.cost
        outbox.waiting -= len(messages)
        for message in messages:
            message.cache = None
            if not freed:  # it did not wait
                return
            message.holds -= 1
            if not message.holds:  # as Budget.release, with one addition to `used` for all messages
                size = len(message.payload) + MESSAGE_BYTES
                (message.account or budget.house).bytes -= size
                freed += size
        budget.used -= freed

    def halt(self) -> None:
        """Give the messages to no other member: a run that goes on around this call stops here."""
        deque(self._rest, maxlen=0)


def _give(members: Sequence[Member], messages: Sequence[Message], bulk: Bulk, failed: Failed) -> None:
    try:
        bulk(members, messages)
    except Exception as error:  # nobody knows who was served
        for member in members:
            failed(member, error)


MEMBERS_PER_SLICE = 128
"""Deliveries for one room before the fan looks at the time and at the next room."""


SLICE_SECONDS = 0.002
"""How long a fan delivers in one turn of the loop."""

MAX_DELIVERIES_PER_TURN = 1_000_000
"""More than fit into a slice."""


class Fan:
    """Delivers outboxes: each strictly in order, several of them in turn, a slice at a time.

    What may not be delivered at once waits: `wake` is called once, and its owner then calls `step` in later turns of its loop (never from
    inside a `deliver`) until that answers False. With `loop`, which answers the running loop, the fan asks that for turns itself, and each
    takes SLICE_SECONDS at most. With `held`, a message that one of its members has no room for waits, and with it whatever
    comes after it in that outbox. Without `wake` everything is delivered inside the call that causes it. A member's
    `deliver` may call the broker: what that publishes in the same room waits behind the message being delivered. With `bulk`, messages go
    to many members in one call, and those that wait for the same members leave together.
    """

    __slots__ = (
        "_after_turn", "_awake", "_budget", "_bulk", "_clock", "_failed", "_held", "_loop", "_ready", "_stepping", "_wake", "active",
    )  # fmt: skip

    def __init__(
        self, failed: Failed, clock: Callable[[], float], wake: Callable[[], None] | None, budget: Budget,
        loop: Callable[[], AbstractEventLoop] | None = None,
        bulk: Bulk | None = None, held: Held | None = None,
    ) -> None:  # fmt: skip
        self._failed = failed
        self._budget = budget
        self._bulk = bulk
        self._held = held
        self._clock = clock
        self._wake = wake if loop is None else self._ask_for_a_turn
        self._loop = loop
        self._after_turn: list[Callable[[], None]] = []
        self._ready: deque[Outbox] = deque()
        self._awake = False
        self._stepping = False
        self.active: set[Outbox] = set()
        """The outboxes in which something waits, or is being delivered."""

    def submit(self, outbox: Outbox, message: Message, targets: tuple[Member, ...], skip: Member | None, at_once: bool) -> None:
        """Deliver `message` to `targets`, but for `skip`, after the items that wait in this outbox.

        If none waits and the message may go `at_once`, the members are given it before this call returns.
        """
        pending, wake = outbox.pending, None if at_once else self._wake
        outbox.waiting += 1
        if pending:
            if self._bulk is not None and not outbox.settled:
                tail = pending[-1]
                if isinstance(tail, Delivery) and tail.join(message, targets, skip):
                    self._budget.hold(message)
                    return
            delivery = Delivery(message, targets, skip)
            delivery.wait(self._budget)
            pending.append(delivery)
            return
        delivery = Delivery(message, targets, skip)
        pending.append(delivery)
        self.active.add(outbox)
        if wake is None:
            self._deliver(outbox)
        else:
            delivery.wait(self._budget)
            self._enqueue(outbox, wake)

    def submit_notices(self, outbox: Outbox, notices: NoticePass) -> None:
        """Tell the watchers of a room after the items that wait in its outbox and, with `wake`, in a later turn."""
        outbox.pending.append(notices)
        if len(outbox.pending) == 1:
            self.active.add(outbox)
            if self._wake is None:
                self._deliver(outbox)
            else:
                self._enqueue(outbox, self._wake)

    def _deliver(self, outbox: Outbox) -> None:
        """Deliver the head of the outbox now; without `wake` also the items that come in meanwhile."""
        pending = outbox.pending
        while pending:
            head = pending[0]
            head.run(outbox, None, self._failed, self._bulk)
            self._finish(outbox, head)
            if self._wake is not None:
                if pending:
                    self._enqueue(outbox, self._wake)
                return

    def step(self, budget: int = 1000, deadline: float | None = None) -> bool:
        """Make up to `budget` deliveries, or until the clock shows `deadline` (up to MEMBERS_PER_SLICE later).

        Whether more wait.
        """
        if self._stepping:
            return True
        self._stepping = True
        try:
            while self._ready and budget > 0:
                budget -= self._slice(self._ready.popleft(), min(budget, MEMBERS_PER_SLICE))
                if deadline is not None and self._clock() >= deadline:
                    break
        finally:
            self._stepping = False
        self._awake = bool(self._ready)
        return self._awake

    def call_after_turn(self, call: Callable[[], None]) -> None:
        """Call this once, when the next turn has delivered something, or nothing will be delivered any more."""
        self._after_turn.append(call)

    def _ask_for_a_turn(self) -> None:
        assert self._loop is not None
        self._loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Deliver for a slice of time, then let others have their turn."""
        if self.step(MAX_DELIVERIES_PER_TURN, self._clock() + SLICE_SECONDS):
            self._ask_for_a_turn()
        if self._after_turn:
            self._call_back()

    def _call_back(self) -> None:
        calls, self._after_turn = self._after_turn, []
        for call in calls:
            call()

    def go_on(self, outbox: Outbox, head: Delivery) -> None:
        """Try again what was held. Nothing happens if it is not held any more."""
        if outbox.held is head and self._wake is not None:
            outbox.held = None
            if outbox.pending:
                self._enqueue(outbox, self._wake)

    def stop(self) -> None:
        """Deliver nothing more of what waits."""
        for outbox in self.active:
            for item in outbox.pending:
                if isinstance(item, Delivery):
                    item.halt()
                item.finish(outbox, self._budget)
            outbox.pending.clear()
        self.active.clear()
        self._ready.clear()
        self._call_back()

    def _slice(self, outbox: Outbox, budget: int) -> int:
        if not outbox.pending:
            return 0
        head = outbox.pending[0]
        if self._held is not None and self._must_wait(outbox, head, self._held):
            return 1
        used = head.run(outbox, budget, self._failed, self._bulk)
        if not head.left:
            self._finish(outbox, head)
        if outbox.pending:
            self._ready.append(outbox)
        return max(1, used)

    def _must_wait(self, outbox: Outbox, head: Delivery | NoticePass, held: Held) -> bool:
        """Whether the next message waits for members: then the outbox has no turn until `go_on`. One that is begun goes to all."""
        if not isinstance(head, Delivery) or head.begun or outbox.overdue:
            return False
        if held(head.owed(outbox), partial(self.go_on, outbox, head)):
            outbox.held = head
        return outbox.held is head

    def _finish(self, outbox: Outbox, head: Delivery | NoticePass) -> None:
        pending = outbox.pending
        if pending and pending[0] is head:  # not so when `stop` came in between
            del pending[0]
            head.finish(outbox, self._budget)
        if outbox.settled:
            outbox.forget_settled()
        if not pending:
            self.active.discard(outbox)

    def _enqueue(self, outbox: Outbox, wake: Callable[[], None]) -> None:
        self._ready.append(outbox)
        if not self._awake:
            self._awake = True
            wake()
