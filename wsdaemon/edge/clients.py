"""Where the clients of one listener come from: their true addresses, and the limits on single addresses."""

from __future__ import annotations

from ..core.handshake import Peer
from ..core.limits import Key
from .candidate import Candidate
from .forwarded import ForwardedHeader, Networks, true_client
from .limits import AddressLimits, too_many


class Clients:
    """Decides about addresses: which one is the client's, what it is counted under, and whether it may begin another handshake."""

    __slots__ = ("_forwarded_header", "_retry_after", "_trusted", "limits")

    def __init__(
        self, limits: AddressLimits | None = None, trusted: Networks | None = None, forwarded_header: ForwardedHeader = "x-forwarded-for",
        retry_after: float = 5.0,
    ) -> None:  # fmt: skip
        """`limits` None: no address is counted. `trusted` None: no proxy is believed; `forwarded_header` is the kind that they write.

        `retry_after`: seconds that a 429 tells the client to wait.
        """
        self.limits = limits
        self._trusted = trusted
        self._forwarded_header = forwarded_header
        self._retry_after = retry_after

    def begin(self, peer: Peer) -> tuple[Key | None, str | None]:
        """An accepted connection enters its handshake: the key it is counted under, and the reason why it is refused, if it is."""
        limits = self.limits
        return (None, None) if limits is None else _begin(limits, limits.key(peer))

    def begin_named(self, peer: Peer) -> tuple[Key | None, str | None]:
        """The same for a client that a load balancer named in a PROXY header."""
        limits = self.limits
        return (None, None) if limits is None else _begin(limits, limits.named_key(peer))

    def again(self, key: Key | None) -> None:
        """A connection that was answered waits for its next request, under the same key: a handshake, but no new connection."""
        if key is not None and self.limits is not None:
            self.limits.handshakes.enter(key)

    def end(self, key: Key | None) -> None:
        """A handshake that entered under `key` is over."""
        if key is not None and self.limits is not None:
            self.limits.handshakes.leave(key)

    def find(self, candidate: Candidate) -> None:
        """Believe a trusted proxy about the candidate's address, and enter its handshake for that one. BadRequest, 429, over a limit."""
        if self._trusted is None:
            return
        client = true_client(candidate.head.headers, candidate.peer, candidate.secure, self._trusted, self._forwarded_header)
        candidate.peer, candidate.secure = client.peer, client.secure
        if self.limits is None or not client.told:
            return
        key, reason = _begin(self.limits, self.limits.told_key(client.peer))
        if reason is not None:
            raise too_many(reason, self._retry_after)
        candidate.address = key


def _begin(limits: AddressLimits, key: Key | None) -> tuple[Key | None, str | None]:
    return key, None if key is None else limits.begin(key)
