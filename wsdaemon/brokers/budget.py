"""The memory that the rooms of one mount hold, counted as it is taken and given back, in all and for each address or user.

The figures are the sizes that CPython 3.11 to 3.13 allocates on a 64-bit machine, rounded up; a test compares them with tracemalloc's.
A message that is delivered within the call that publishes it is not counted, nor are the frames made while messages are written to
members, because the loop writes only a few messages at a time.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from .account import Account, share
from .contract import Message
from .errors import MemoryFull

ROOM_BYTES = 1200
"""A room, besides its name."""

MEMBER_BYTES = 500
"""A connection that is in any room or has any pattern."""

SUBSCRIPTION_BYTES = 550
"""A connection's subscription to one room, with presence."""

PATTERN_BYTES = 150
"""A connection's subscription to a pattern, besides its tokens."""

TOKEN_BYTES = 330
"""A token of a pattern."""

MESSAGE_BYTES = 300
"""A message that a history or `latest` keeps, or that waits for delivery, besides its payload."""

DELIVERY_BYTES = 450
"""A delivery that waits, besides its messages and 8 bytes for each member."""

KEY_BYTES = 600
"""An idempotency key, besides its characters."""

WAITING_BYTES = 2500
"""A publisher that waits until its room can take more, besides its payload."""


class Budget:
    """The memory of one mount's rooms: at most `limit` bytes, of which one account may hold an eighth.

    `house` is the account of the program itself, which may use all of it.
    """

    __slots__ = ("_accounts", "house", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.house = Account(limit)
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    def account(self, owner: str) -> Account:
        """The account of an address or a user. It exists for as long as a session, room, key or message refers to it."""
        account = self._accounts.get(owner)
        if account is None:
            account = self._accounts[owner] = Account(share(self.limit), owner)
        return account

    def change_limit(self, limit: int) -> None:
        """Have another limit from now on. If more is held, nothing fits until enough is given back."""
        self.limit = self.house.most = limit
        for account in self._accounts.values():
            account.most = share(limit)

    def fits(self, account: Account, size: int) -> bool:
        """Whether the account may take `size` more bytes now."""
        return self.used + size <= self.limit and account.bytes + size <= account.most

    def is_own_fault(self, account: Account, size: int) -> bool:
        """Whether `size` more bytes do not fit because the account has its share."""
        return account is not self.house and account.bytes + size > account.most

    def take(self, account: Account, size: int) -> None:
        """Count `size` bytes, even if they do not fit."""
        account.bytes += size
        self.used += size

    def give_back(self, account: Account, size: int) -> None:
        """Count `size` bytes no longer."""
        account.bytes -= size
        self.used -= size

    def hold(self, message: Message) -> None:
        """Count one more reference to a message, by a history, a room or a delivery. Its bytes count once."""
        if not message.holds:
            size = len(message.payload) + MESSAGE_BYTES
            account = message.account or self.house
            account.bytes += size
            self.used += size
        message.holds += 1

    def release(self, message: Message) -> None:
        """Count one reference to a message less. With the last one its bytes count no longer."""
        message.holds -= 1
        if not message.holds:
            size = len(message.payload) + MESSAGE_BYTES
            account = message.account or self.house
            account.bytes -= size
            self.used -= size

    def exchange(self, message: Message, former: Message) -> None:
        """Hold `message` and release `former`: one addition if `message` is new, and `former` of the same account goes."""
        if message.holds or former.holds != 1 or message.account is not former.account:
            self.hold(message)
            self.release(former)
            return
        message.holds, former.holds = 1, 0
        change = len(message.payload) - len(former.payload)
        if change:
            (message.account or self.house).bytes += change
            self.used += change

    def refusal(self, account: Account, size: int) -> MemoryFull:
        """The error for `size` bytes that do not fit. Its text names the limit."""
        if self.is_own_fault(account, size):
            return MemoryFull(f"this address or user holds an eighth of the rooms' memory, {account.most} bytes, and may hold no more")
        return MemoryFull(f"the rooms here hold all of their memory, {self.limit} bytes")
