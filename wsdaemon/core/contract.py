"""The one contract between the daemon and an app, and the small Protocols for all that an app or a session may have besides.

`received` returns None if it is done with the message, or an awaitable: until that is done, the connection reads no further.
This one rule keeps messages in order, and a slow app delays only its own client.
"""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from .connection import Connection
    from .handshake import Handshake

READ_AHEAD = 32
"""Messages that may wait for an app's function or coroutine; then the connection reads no further."""

READ_AHEAD_BYTES = 256 * 1024
"""The same in bytes (characters, for text)."""

Failed: TypeAlias = "Callable[[Connection, str, BaseException], None]"
"""Told of an exception in the user's code: the connection, what the code was doing, and the exception."""


class Session(Protocol):
    """An app's side of one connection."""

    def received(self, message: str | bytes, /) -> Awaitable[object] | None:
        """One message: `str` for text, `bytes` for binary. An exception closes the connection with 1011."""

    def closed(self, code: int, reason: str, /) -> None:
        """The connection is over. Called exactly once, and last."""


@runtime_checkable
class PayloadSession(Protocol):
    """A session that takes payloads as they came. If a session has this method, the daemon does not call `received`."""

    def received_payload(self, payload: bytes, text: bool, /) -> Awaitable[object] | None:
        """One message. If `text`, the payload is UTF-8 that was checked, but not decoded."""

    def closed(self, code: int, reason: str, /) -> None:
        """The connection is over. Called exactly once, and last."""


@runtime_checkable
class ExpiringSession(Protocol):
    """A session of either kind that is told before the client's credentials expire (mount option `expiry_warning`)."""

    def expiring(self, seconds: float, /) -> None:
        """In `seconds` the connection will be closed with 4401. An exception closes it at once, with 1011."""


MAX_STATE_BYTES = 64 * 1024
"""The longest answer of `hand_over`."""


@runtime_checkable
class HandingOverSession(Protocol):
    """A session whose connection may go on in another process, between two messages, without its client noticing."""

    def hand_over(self) -> bytes | None:
        """All that the app needs to go on, in at most MAX_STATE_BYTES; None: not now, and nothing has changed.

        With the answer the session is over: it sends nothing more, and `closed` is not called. Messages that it sends before the answer
        still leave, in order. An exception, and an answer that is too long, close the connection with 1011.
        """


@runtime_checkable
class SettlingSession(HandingOverSession, Protocol):
    """A session that ends work of its own before it hands over."""

    def is_settled(self) -> bool:
        """Whether `hand_over` may be called now. If not, nothing more of the client is read, and this is asked again for some seconds."""


@runtime_checkable
class HandedOverSession(HandingOverSession, Protocol):
    """A session that is told when another process has its connection."""

    def handed_over(self) -> None:
        """The other process has taken it over. If that fails, the app's `resume` is called in this process instead; this is called only if
        the connection is lost on its way back, so that it has no other session."""


@runtime_checkable
class ResumedSession(Protocol):
    """A session that cannot go on at once after `resume`."""

    def resumed(self) -> Awaitable[object] | None:
        """None, or an awaitable: until that is done, nothing is read, and the process before still holds its part of the app."""


class App(Protocol):
    """The program of a mount: one object per mount."""

    def open(self, connection: Connection, handshake: Handshake, /) -> Session | PayloadSession:
        """A client was admitted. An exception closes the connection with 1011."""


def open_session(app: App, connection: Connection, handshake: Handshake) -> Session | PayloadSession:
    """The session of a new connection. TypeError if open() returns something else; the connection closes with 1011 then."""
    return _checked(app.open(connection, handshake), app, "open")


def resume_session(app: ResumingApp, connection: Connection, handshake: Handshake, state: bytes) -> Session | PayloadSession:
    """The session of a connection from another process. TypeError if resume() returns something else."""
    return _checked(app.resume(connection, handshake, state), app, "resume")


def _checked(session: object, app: object, method: str) -> Session | PayloadSession:
    if not hasattr(session, "received_payload") and not hasattr(session, "received"):
        raise TypeError(f"{type(app).__qualname__}.{method}() returned {session!r}; expected a session with received() and closed()")
    return session  # type: ignore[return-value]


class StartFailed(Exception):
    """Raised by `start` if the text alone is what the operator has to read: no traceback is shown."""


@runtime_checkable
class ResumingApp(App, Protocol):
    """An app that goes on with connections of another process."""

    def resume(self, connection: Connection, handshake: Handshake, state: bytes, /) -> Session | PayloadSession:
        """The session of a connection that was opened in another process. `state` is the answer of `hand_over` there.

        The other process may run another version of the app. An exception closes the connection with 1011.
        """


@runtime_checkable
class SelectiveApp(ResumingApp, Protocol):
    """An app that cannot go on with each state."""

    def can_resume(self, state: bytes, /) -> bool:
        """Whether `resume` can go on with this state. If not, the connection stays in the other process, which asks before it lets go."""


@runtime_checkable
class StartingApp(Protocol):
    """An app that starts work of its own before the daemon is ready."""

    async def start(self) -> None:
        """Runs on the daemon's loop before the first connection. An exception keeps the daemon from starting."""


@runtime_checkable
class StoppingApp(Protocol):
    """An app that stops work of its own after the drain."""

    async def stop(self) -> None:
        """Runs on the daemon's loop after the last connection. An exception is logged."""


@runtime_checkable
class ServiceApp(App, StartingApp, StoppingApp, Protocol):
    """An app that has both. The daemon takes each of the two methods by itself too."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The client may come in."""

    subprotocol: str | None = None
    """One that the client offered; "" for none. None: the daemon's choice, which is in `handshake.subprotocol`."""
    headers: Sequence[tuple[str, str]] = ()
    """Further lines of the answer, in their order, duplicates kept. Those that make the answer a 101 are the daemon's: Upgrade, Connection
    and all that begin with Sec-WebSocket-."""
    open: Callable[[Connection, Handshake], Session | PayloadSession] | None = None
    """Makes the session, in the place of the app's `open`: for an app that has begun to serve the client already."""
    abandoned: Callable[[], None] | None = None
    """Called instead of `open` if there is no connection after all: the client has left, or the daemon stops."""


@runtime_checkable
class AdmittingApp(App, Protocol):
    """An app that decides about opening handshakes itself, before the 101."""

    def admit(self, handshake: Handshake, /) -> Awaitable[Acceptance | None]:
        """An opening handshake has passed the mount's own checks, authentication among them, and has its places in all limits.

        None: the client may come in. An Acceptance can choose the subprotocol, add headers to the 101, and bring the session.
        wsdaemon.HandshakeRefused answers the client with a status of the app's; any other exception is logged and answered 500. If
        the client leaves meanwhile, or the listener's `handshake_timeout` is over (503), the coroutine is cancelled. An `async def`.
        """


class PlainAnswer(Protocol):
    """The answer to one request without an upgrade, as the app gives it."""

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]], /) -> None:
        """The head, which leaves with the first piece of the body, or in the loop's next turn. ValueError for what is no answer."""

    def send(self, data: bytes, more: bool, /) -> Awaitable[None] | None:
        """The next piece of the body. OSError once the client has gone.

        If the client is slow, or other connections are to have their turn, the result is an awaitable, else None.
        ValueError if the body is longer or shorter than its Content-Length.
        """

    def read_on(self) -> None:
        """The app waits for the body: ask the client for it, and read its next piece."""

    def fail(self) -> None:
        """The app has failed: a 500, or if the answer has begun already, its end in the middle."""


class RequestSession(Protocol):
    """An app's side of one request without an upgrade."""

    @property
    def work(self) -> Future[Any]:
        """The app's work for it. A stopping daemon waits for it."""

    def body(self, data: bytes, more: bool, /) -> None:
        """A piece of the request's body. After the last one `more` is False."""

    def closed(self) -> None:
        """The answer is complete, or the client has gone. Called exactly once, and last."""


@runtime_checkable
class PlainApp(App, Protocol):
    """An app that answers requests without an upgrade too."""

    @property
    def answers_plain(self) -> bool:
        """False: they are answered 426, as for any other app."""

    def answer(self, handshake: Handshake, method: str, answer: PlainAnswer, /) -> RequestSession:
        """A request was admitted. An exception is a 500."""


@runtime_checkable
class SubprotocolsApp(App, Protocol):
    """An app that speaks subprotocols of its own."""

    @property
    def subprotocols(self) -> Sequence[str]:
        """They follow those of the mount's `subprotocols`, the preferred one first."""


@runtime_checkable
class HandshakeApp(App, Protocol):
    """An app that says how long it needs its connections' handshakes. An app without this attribute keeps them."""

    @property
    def keeps_handshake(self) -> bool:
        """False: headers, query, cookies and certificate are let go once `open` has returned, and raise if they are read later."""


@runtime_checkable
class ConnectionClassApp(App, Protocol):
    """An app whose connections are objects of a class of its own, made with the same arguments as Connection."""

    @property
    def connection_class(self) -> type[Connection]: ...
