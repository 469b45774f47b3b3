"""WebSockets beside pages: an opening handshake that came to a PlainServer is admitted like any other, to mounts of its own."""

from __future__ import annotations

from typing import Protocol

from ..core.handshake import Peer
from ..wire.factory import NotServed
from ..wire.writer import Native
from .admission import Admission
from .candidate import Candidate
from .request import Head
from .shared import full


class PageSessions(Protocol):
    """The app behind the WebSockets."""

    def make_room(self) -> bool:
        """Whether one more may open; another may have ended for it."""

    def close(self) -> None:
        """Begin the closing handshake of all."""


class PageSockets:
    """http.SocketOpener out of an admission, whose mounts have no authentication of their own and ask no app."""

    def __init__(self, admission: Admission, sessions: PageSessions, secure: bool) -> None:
        """`secure`: the pages are https."""
        self._admission = admission
        self._sessions = sessions
        self._secure = secure

    def open(self, head: Head, native: Native, time_left: float, early: bytes) -> None:
        """As http.SocketOpener.open."""
        admission = self._admission
        peer, local = (Peer.from_sockname(native.get_extra_info(name)) for name in ("peername", "sockname"))
        candidate = Candidate(head, peer, local, self._secure)
        admission.receive(candidate)
        admission.ask(candidate)
        entrance = candidate.entrance
        assert entrance is not None
        if not self._sessions.make_room():
            raise full(admission.retry_after)
        handshake, place = admission.admit(candidate, entrance, None)
        wanted = candidate.wanted
        try:
            # Without its descriptor: its few writes go by the transport, as they do with TLS.
            entrance.wires.open(
                native, -1, handshake, place, key=wanted.key, extensions=wanted.extensions, time_left=time_left, refusals=None, early=early
            )  # fmt: skip
        except NotServed:
            place.leave()
            raise admission.unavailable("factory", "no more clients are served now") from None
        except BaseException:
            place.leave()
            raise

    def close(self) -> None:
        """As http.SocketOpener.close."""
        self._sessions.close()
