"""The fan: it delivers the outboxes of all rooms, a slice at a time, so that a room of ten thousand members does not hold up the loop."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from itertools import islice
from operator import length_hint

from ..budget import DELIVERY_BYTES, MESSAGE_BYTES, Budget
from ..contract import Bulk, Failed, Held, Member, Message
from .outbox import Item, Outbox

MAX_JOINED_BYTES = 64 * 1024
"""Bytes of payload up to which messages that wait for the same members are delivered together."""


class Delivery:
    """Messages on their way to the members at their publication, except `skip`. A member that is given one is given all."""

    __slots__ = ("_rest", "_size", "_skip", "_targets", "begun", "cost", "messages")

    def __init__(self, message: Message, targets: tuple[Member, ...], skip: Member | None) -> None:
        self.messages = [message]
        self._targets = targets
        self._rest = iter(targets)  # the iterator is the cursor: it moves before each `deliver`, which may call the broker
        self._skip = skip
        self.begun = False
        self.cost = self._size = 0

    @property
    def offset(self) -> int:
        """That of its first message."""
        return self.messages[0].offset

    @property
    def left(self) -> int:
        """The number of members that the delivery has not reached yet."""
        return length_hint(self._rest)

    def owed(self, outbox: Outbox) -> Sequence[Member]:
        """The members that it goes to, before it begins."""
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
        """Count in the budget until `finish`. A delivery that is made within the call that publishes does not wait, nor count."""
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

    def _owes(self, member: Member) -> bool:
        return member is not self._skip and member in copy(self._rest)

    def catch_up(self, outbox: Outbox, member: Member) -> None:
        """Deliver to this one member now, if it is owed a message. Errors of its `deliver` come through."""
        if self._owes(member):
            for message in self.messages:
                if outbox.settled.get(member.id, 0) < message.offset:
                    outbox.settled[member.id] = message.offset
                    member.deliver(message)

    def run(self, outbox: Outbox, budget: int | None, failed: Failed, bulk: Bulk | None = None) -> int:
        """Deliver to the next `budget` members, or to all, and return their number."""
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
                except Exception as error:  # one member's error must not keep the message from the others
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
        """End the delivery: every member was given the messages, or none is to be given them any more."""
        messages, freed = self.messages, self.cost
        outbox.waiting -= len(messages)
        for message in messages:
            message.cache = None
            if not freed:  # it did not wait, so it was not counted
                return
            message.holds -= 1
            if not message.holds:  # as Budget.release, with one addition to `used` for all messages
                size = len(message.payload) + MESSAGE_BYTES
                (message.account or budget.house).bytes -= size
                freed += size
        budget.used -= freed

    def halt(self) -> None:
        """Give the messages to no other member. A run around this call ends."""
        deque(self._rest, maxlen=0)


def _give(members: Sequence[Member], messages: Sequence[Message], bulk: Bulk, failed: Failed) -> None:
    try:
        bulk(members, messages)
    except Exception as error:  # the members that were served are not known
        for member in members:
            failed(member, error)


MEMBERS_PER_SLICE = 128
"""Deliveries in one room before the fan looks at the time and at the next room."""

SLICE_SECONDS = 0.002
"""How long the fan delivers in one turn of the loop."""

MAX_DELIVERIES_PER_TURN = 1_000_000
"""More than fit into SLICE_SECONDS."""


class Fan:
    """Delivers outboxes: each strictly in order, several of them in turn, a slice at a time.

    When a delivery has to wait, the fan calls `wake` once. The owner then calls `step` in later turns of its loop, and never within a
    `deliver`, until that returns False. With `loop`, which returns the running loop, the fan asks for turns itself, and each takes
    SLICE_SECONDS at most. Without either, the fan delivers everything within the call that causes it. With `held`, a message waits if one
    of its members has no room for it, and so do all items behind it in that outbox. A member's `deliver` may call the broker: messages that
    it publishes in the same room wait behind the one being delivered. With `bulk`, messages go to many members in one call, and messages
    that wait for the same members leave together.
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
        """The outboxes with items that wait, or are being delivered."""

    def submit(self, outbox: Outbox, message: Message, targets: tuple[Member, ...], skip: Member | None, at_once: bool) -> None:
        """Deliver `message` to `targets`, except `skip`, after the items that wait in this outbox.

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

    def submit_pass(self, outbox: Outbox, told: Item) -> None:
        """Tell members of a room after the items that wait in its outbox and, with `wake`, in a later turn."""
        outbox.pending.append(told)
        if len(outbox.pending) == 1:
            self.active.add(outbox)
            if self._wake is None:
                self._deliver(outbox)
            else:
                self._enqueue(outbox, self._wake)

    def _deliver(self, outbox: Outbox) -> None:
        """Deliver the head of the outbox now, and without `wake` also the items that are added meanwhile."""
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
        """Make up to `budget` deliveries, or deliver until the clock shows `deadline` (and up to MEMBERS_PER_SLICE more).

        Returns whether more wait.
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
        """Call `call` once, after the next turn, or when the fan stops."""
        self._after_turn.append(call)

    def _ask_for_a_turn(self) -> None:
        assert self._loop is not None
        self._loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Deliver for SLICE_SECONDS, then give other clients their turn."""
        if self.step(MAX_DELIVERIES_PER_TURN, self._clock() + SLICE_SECONDS):
            self._ask_for_a_turn()
        if self._after_turn:
            self._call_back()

    def _call_back(self) -> None:
        calls, self._after_turn = self._after_turn, []
        for call in calls:
            call()

    def go_on(self, outbox: Outbox, head: Item) -> None:
        """Try again to deliver a head that was held. Nothing happens if it is not held any more."""
        if outbox.held is head and self._wake is not None:
            outbox.held = None
            if outbox.pending:
                self._enqueue(outbox, self._wake)

    def drop(self, outbox: Outbox) -> None:
        """Drop all items that wait in one outbox, and the changes that its watchers were not told."""
        for item in outbox.pending:
            item.halt()
            item.finish(outbox, self._budget)
        outbox.pending.clear()
        outbox.settled.clear()
        outbox.held = None
        if outbox.presence is not None:
            outbox.presence.restart()
        self.active.discard(outbox)
        if outbox in self._ready:
            self._ready.remove(outbox)

    def stop(self) -> None:
        """Drop all items that wait."""
        for outbox in list(self.active):
            self.drop(outbox)
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

    def _must_wait(self, outbox: Outbox, head: Item, held: Held) -> bool:
        """Whether the next message waits for members. The outbox then has no turn until `go_on`. A delivery that has begun goes to all."""
        if not isinstance(head, Delivery) or head.begun or outbox.overdue:
            return False
        if held(head.owed(outbox), partial(self.go_on, outbox, head)):
            outbox.held = head
        return outbox.held is head

    def _finish(self, outbox: Outbox, head: Item) -> None:
        pending = outbox.pending
        if pending and pending[0] is head:  # not if `stop` was called meanwhile
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
