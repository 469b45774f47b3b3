"""From the settings of a mount with `app = proxy` to the app, whose outer side is the wire of a client."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from twisted.logger import Logger

from ..apps.proxy import Answered, Balancer, ProxyApp, ProxyRules, TargetFailed, TargetRefused, UpstreamSession
from ..client.attempt import Opening, agreed_compression, body_of_refusal
from ..client.errors import ClientError
from ..client.opening import ServerAnswer, new_key, request
from ..client.target import Target
from ..client.tools import deflate_options, tools_of
from ..core.contract import Failed
from ..core.dialing import Dialing, Endpoint, reason_of
from ..core.rare_lines import RareLines
from ..core.wire_halves import ReadingSide, Writer
from ..settings.client import ClientSettings
from ..settings.model import MountSettings
from ..settings.proxy import ProxyOptions, ProxyTarget
from ..wire.client import ClientWire
from ..wire.deflate.negotiation import DeflateParameters
from ..wire.deflate.offering import offer
from .bridges import check_nothing_is_dropped, check_placeholders, dialing_of


def make_proxy(settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: object = None) -> ProxyApp:
    """The app proxy. LoadError for files that cannot be used, parameters that the path has not, and a policy that drops messages."""
    options = cast(ProxyOptions, settings.options)
    check_nothing_is_dropped(settings)
    check_placeholders(settings, options.target)
    secure = any(target.secure for target in options.target)
    return ProxyApp(
        ProxyRules(mount=settings.path, preserve_host=options.preserve_host),
        Balancer(options.target, options.max_failures, options.fail_timeout),
        TargetConnect(dialing_of(options, secure), outer_settings(settings, options), options.connect_timeout),
        RareLines(Logger(namespace="wsdaemon.proxy")),
    )


def outer_settings(settings: MountSettings, options: ProxyOptions) -> ClientSettings:
    """The settings of the outer side: the mount's, where they concern both."""
    return ClientSettings(
        max_message=options.max_target_message,
        max_fragments=settings.max_fragments,
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        close_timeout=settings.close_timeout,
        control_frames_per_second=0,  # the operator's server may ping as often as it likes
        compression=options.target_compression,
        compression_level=settings.compression_level,
        compression_window_bits=settings.compression_window_bits,
        compression_memory_level=settings.compression_memory_level,
        compression_threshold=settings.compression_threshold,
        compression_server_context_takeover=settings.compression_server_context_takeover,
        compression_client_context_takeover=settings.compression_client_context_takeover,
    )


class TargetConnect:
    """Opens connections to targets: one attempt for each call."""

    def __init__(self, dialing: Dialing, settings: ClientSettings, seconds: float) -> None:
        """`seconds`: for the connection and the answer together."""
        self._dialing = dialing
        self._settings = settings
        self._seconds = seconds

    async def __call__(
        self, target: ProxyTarget, resource: str, headers: Sequence[tuple[str, str]], subprotocols: Sequence[str], /
    ) -> Answered:
        options, key = deflate_options(self._settings), new_key()
        asked = Target(target.secure, target.host, target.port, resource)
        data = request(asked, key, subprotocols=subprotocols, extensions="" if options is None else offer(options), headers=headers)
        opening: Opening | None = None
        try:
            async with asyncio.timeout(self._seconds):
                endpoint = Endpoint(target.host, target.port, tls=target.secure)
                transport, opening = await self._dialing.connect(lambda: Opening(data), endpoint)
                answer = await opening.answer()
                if answer.status != 101:
                    raise TargetRefused(answer.status, answer.headers, await body_of_refusal(opening, answer.headers))
            subprotocol = answer.accepted(key, subprotocols)
            deflate = agreed_compression(answer.headers, self._settings)
        except BaseException as error:
            if opening is not None:
                opening.abort()
            if isinstance(error, TimeoutError):
                raise TargetFailed("it does not answer in time", late=True) from None
            if isinstance(error, (ClientError, ssl.SSLError, OSError)):
                raise TargetFailed(str(error) if isinstance(error, ClientError) else reason_of(error)) from None
            raise
        descriptor = -1 if target.secure else transport.get_extra_info("socket").fileno()
        return _answered(subprotocol, answer, opening, descriptor, deflate, self._settings)


def _answered(
    subprotocol: str | None, answer: ServerAnswer, opening: Opening, descriptor: int, deflate: DeflateParameters | None,
    settings: ClientSettings,
) -> Answered:  # fmt: skip
    def begin(session: UpstreamSession) -> Outer:
        if opening.lost:
            raise RuntimeError("the target has ended the connection")
        outer = Outer(session)
        wires = tools_of(asyncio.get_running_loop()).wires(settings)
        wires.open(opening.native, descriptor, outer, deflate, opening.rest)
        return outer

    return Answered(subprotocol, answer.headers, begin, opening.abort)


class Outer:
    """The proxy's end of a connection to a target: the session of a client's wire."""

    __slots__ = ("_session", "_wire", "reading", "received_payload", "writer")

    def __init__(self, session: UpstreamSession) -> None:
        self._session = session
        self._wire: ClientWire | None = None
        self.received_payload = session.received_payload
        self.writer: Writer
        self.reading: ReadingSide

    def opened(self, wire: ClientWire) -> None:
        self._wire = wire
        self.writer, self.reading = wire.writer, wire.reader
        self._session.opened(self)

    def received(self, message: str | bytes) -> Awaitable[object] | None:
        """Unused, because payloads come as they are."""
        raise NotImplementedError

    def writable(self) -> None:
        """Unused: a sender that waits is woken by the connection."""

    def failed(self, error: BaseException) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "a proxy failed to pass a message on", "exception": error})

    def closed(self, code: int, reason: str) -> None:
        self._wire = None
        self._session.closed(code, reason)

    def close(self, code: int | None, reason: str) -> None:
        if self._wire is not None:
            self._wire.close(cast(Any, code), reason)

    def abort(self) -> None:
        if self._wire is not None:
            self._wire.abort()
