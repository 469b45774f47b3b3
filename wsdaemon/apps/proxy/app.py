"""A proxy in front of WebSocket servers: `app = proxy`. The target is connected to, and asked, before the 101."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ...core.acceptance import HandshakeRefused
from ...core.connection import Connection
from ...core.contract import Acceptance
from ...core.handshake import Handshake
from ...core.rare_lines import RareLines
from .balancer import Backend, Balancer
from .contract import Answered, Connect, TargetFailed, TargetRefused
from .headers import BadPath, answer_headers, request_headers, resource
from .session import ProxySession


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRules:
    mount: str
    preserve_host: bool = False


class ProxyApp:
    """Connects each client of a mount to one of the targets."""

    keeps_handshake = False

    def __init__(self, rules: ProxyRules, balancer: Balancer, connect: Connect, lines: RareLines) -> None:
        self._rules = rules
        self._balancer = balancer
        self._connect = connect
        self._lines = lines

    async def admit(self, handshake: Handshake) -> Acceptance:
        """Ask a target. HandshakeRefused with its answer if that is no 101, with 502, or with 504."""
        backend, answered = await self._ask(handshake)
        left = _Once(partial(self._leave, backend))

        def abandoned() -> None:
            answered.abandon()
            left()

        return Acceptance(
            subprotocol=answered.subprotocol or "",
            headers=answer_headers(answered.headers),
            open=lambda connection, handshake: ProxySession(connection, answered, left),
            abandoned=abandoned,
        )

    def open(self, connection: Connection, handshake: Handshake) -> ProxySession:
        raise RuntimeError("a proxy needs admit()")  # the daemon calls that for each client

    def _leave(self, backend: Backend) -> None:
        backend.connections -= 1

    async def _ask(self, handshake: Handshake) -> tuple[Backend, Answered]:
        """The first target that answers 101. It counts as connected to."""
        refused = HandshakeRefused(502, "the target cannot be reached\n")
        for backend in self._balancer.order():
            target = backend.target
            try:
                path = resource(handshake, target)
            except BadPath:
                raise HandshakeRefused(400, "this path is not allowed\n") from None
            backend.connections += 1
            answered = None
            try:
                headers = request_headers(handshake, target, self._rules.preserve_host)
                answered = await self._connect(target, path, headers, handshake.subprotocols)
            except TargetFailed as error:
                status, text = (504, "the target does not answer\n") if error.late else (502, "the target cannot be reached\n")
                refused = HandshakeRefused(status, text)
                self._failed(backend, str(error))
            except TargetRefused as error:
                refused = HandshakeRefused(*_passed_on(error))
                if error.status < 500:
                    self._balancer.succeeded(backend)
                    raise refused from None
                self._failed(backend, f"it answered {error.status}")
            finally:
                if answered is None:
                    backend.connections -= 1
            if answered is not None:
                self._balancer.succeeded(backend)
                return backend, answered
        raise refused

    def _failed(self, backend: Backend, why: str) -> None:
        target, mount = str(backend.target), self._rules.mount
        self._lines.warn((target, why), "{mount}: {target} failed: {why}", mount=mount, target=target, why=why)
        if self._balancer.failed(backend):
            self._lines.warn((target, "down"), "{mount}: {target} is left out for fail_timeout", mount=mount, target=target)


def _passed_on(error: TargetRefused) -> tuple[int, bytes, list[tuple[str, str]]]:
    """Status, body and headers of a refusal, as the client gets them. An answer that is no refusal is a fault of the target's."""
    if 200 <= error.status <= 599:
        whole = error.headers.get("content-encoding") is None  # of the body, only the beginning is kept
        return error.status, error.body if whole else b"", [pair for pair in answer_headers(error.headers) if pair[0] != "content-encoding"]
    return 502, b"the target's answer is not good\n", []


class _Once:
    """A function that is called once, however often it is asked for."""

    __slots__ = ("_function",)

    def __init__(self, function: partial[None]) -> None:
        self._function: partial[None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()
