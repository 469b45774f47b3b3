"""The names of websocket-client's WebSocketApp, for programs that change one import line:

    from wsdaemon.client import compat as websocket

Differences, all on purpose: TLS certificates are always verified unless `sslopt` says otherwise; `close()` always makes `run_forever`
return; `reconnect=5` means a drawn delay whose range begins with 5 s and grows up to a minute, and failures that are final end the run;
`on_ping`, `on_pong` and `on_cont_message` are accepted and never called, because the client answers pings itself and gives whole messages.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ..core.closing import ABNORMAL, NO_STATUS
from .client import WebSocketClient
from .errors import ClientError, ConnectFailed, OpeningRefused
from .target import parse

LONGEST_DELAY_SECONDS = 60.0

OPCODE_TEXT, OPCODE_BINARY = 1, 2


class WebSocketException(Exception):
    """The base of the exceptions of this module."""


class WebSocketConnectionClosedException(WebSocketException):
    """A message was sent while no connection is open."""


class ABNF:
    """The opcodes of websocket-client."""

    OPCODE_TEXT = OPCODE_TEXT
    OPCODE_BINARY = OPCODE_BINARY


class OpenSocket:
    """Stands where programs look at `ws.sock`."""

    connected = True


class WebSocketApp:
    """A client by the names of websocket-client. Callbacks get this object first."""

    def __init__(
        self, url: str, header: Iterable[str] | Mapping[str, str] | Callable[[], Any] | None = None,
        on_open: Callable[..., object] | None = None, on_reconnect: Callable[..., object] | None = None,
        on_message: Callable[..., object] | None = None, on_error: Callable[..., object] | None = None,
        on_close: Callable[..., object] | None = None, on_ping: Callable[..., object] | None = None,
        on_pong: Callable[..., object] | None = None, on_cont_message: Callable[..., object] | None = None, keep_running: bool = True,
        get_mask_key: object = None, cookie: str | None = None, subprotocols: Iterable[str] | None = None,
        on_data: Callable[..., object] | None = None, socket: object = None,
    ) -> None:  # fmt: skip
        self.url = url
        self.header = header
        self.cookie = cookie
        self.subprotocols = subprotocols
        self.on_open, self.on_reconnect, self.on_message, self.on_data = on_open, on_reconnect, on_message, on_data
        self.on_error, self.on_close = on_error, on_close
        self.on_ping, self.on_pong, self.on_cont_message = on_ping, on_pong, on_cont_message
        self.has_errored = False
        self._client: WebSocketClient | None = None
        self._stopped = False
        self._told_close = False
        self._opened = 0

    # -- running

    def run_forever(
        self, sockopt: object = None, sslopt: Mapping[str, Any] | None = None, ping_interval: float = 0, ping_timeout: float | None = None,
        ping_payload: str = "", http_proxy_host: str | None = None, http_proxy_port: int | str | None = None,
        http_no_proxy: Iterable[str] | None = None, http_proxy_auth: tuple[str, str] | None = None, http_proxy_timeout: float | None = None,
        skip_utf8_validation: bool = False, host: str | None = None, origin: str | None = None, dispatcher: object = None,
        suppress_origin: bool = False, suppress_host: bool = False, proxy_type: str | None = None, reconnect: float | None = None,
    ) -> bool:  # fmt: skip
        """Connect and serve until close(). Without `reconnect` (seconds), until the connection is lost. True if it ended with an error.

        `dispatcher` must be None: run it in a thread instead. ValueError for options that contradict each other.
        """
        _check(dispatcher, ping_interval, ping_timeout)
        headers = self._headers(host, None if suppress_origin else origin or _origin(self.url))
        self.has_errored, self._told_close, self._opened = False, False, 0
        client = WebSocketClient(
            self.url, on_open=self._on_open, on_message=self._on_message, on_close=self._on_close, on_error=self._on_error, headers=headers,
            tls=_context(sslopt), proxy=_proxy(http_proxy_host, http_proxy_port, http_proxy_auth, proxy_type, http_no_proxy, self.url),
            subprotocols=list(self.subprotocols or ()), ping_interval=ping_interval, ping_timeout=ping_timeout or 10.0,
            reconnect=(float(reconnect), max(LONGEST_DELAY_SECONDS, float(reconnect))) if reconnect else None, max_message="256MiB",
        )  # fmt: skip
        self._client = client
        if self._stopped:
            client.close()
        failed = False
        try:
            client.run_forever()
        except KeyboardInterrupt:
            failed = False
        except ClientError as error:
            failed = True
            if not isinstance(error, ConnectFailed | OpeningRefused):
                self._on_error(client, error)
        except Exception:  # the connection was lost, and was not to be made again: on_close was told
            failed = True
        finally:
            self._client, self._stopped = None, False
        if not self._told_close:
            self._call(self.on_close, None, None)
        return failed or self.has_errored

    def close(self, **options: Any) -> None:
        """End: run_forever() returns. `status` and `reason` may be given."""
        self._stopped = self._client is not None or self._stopped
        if self._client is not None:
            self._client.close(int(options.get("status", 1000)), str(options.get("reason", "")))

    @property
    def keep_running(self) -> bool:
        """False once close() was called. A program may set it to False to end the run."""
        return self._client is not None and not self._stopped

    @keep_running.setter
    def keep_running(self, value: bool) -> None:
        if not value:
            self.close()

    @property
    def sock(self) -> OpenSocket | None:
        """Not None while a connection is open."""
        return OpenSocket() if self._client is not None and self._client.is_open else None

    # -- sending

    def send(self, data: str | bytes, opcode: int = OPCODE_TEXT) -> None:
        """Send a message. WebSocketConnectionClosedException when no connection is open."""
        client = self._client
        if client is None or not client.is_open:
            raise WebSocketConnectionClosedException("Connection is already closed.")
        if opcode == OPCODE_TEXT:
            client.send(data.decode() if isinstance(data, bytes) else data)
        elif opcode == OPCODE_BINARY:
            client.send(data.encode() if isinstance(data, str) else data)
        else:
            raise WebSocketException(f"opcode {opcode}: expected text or binary")

    def send_text(self, text_data: str) -> None:
        """Send a text message."""
        self.send(text_data, OPCODE_TEXT)

    def send_bytes(self, data: bytes | bytearray) -> None:
        """Send a binary message."""
        self.send(bytes(data), OPCODE_BINARY)

    # -- callbacks

    def _call(self, callback: Callable[..., object] | None, *arguments: object) -> object:
        return None if callback is None else callback(self, *arguments)

    def _on_open(self, client: WebSocketClient) -> object:
        self._opened += 1
        again = self._opened > 1 and self.on_reconnect is not None
        return self._call(self.on_reconnect if again else self.on_open)

    def _on_message(self, client: WebSocketClient, message: str | bytes) -> object:
        if self.on_data is not None:
            self._call(self.on_data, message, OPCODE_TEXT if isinstance(message, str) else OPCODE_BINARY, True)
        return self._call(self.on_message, message)

    def _on_close(self, client: WebSocketClient, code: int, reason: str) -> object:
        self._told_close = True
        known = code not in (ABNORMAL, NO_STATUS)
        return self._call(self.on_close, code if known else None, reason if known else None)

    def _on_error(self, client: WebSocketClient, error: BaseException) -> object:
        self.has_errored = True
        return self._call(self.on_error, error)

    def _headers(self, host: str | None, origin: str | None) -> dict[str, str]:
        given = self.header() if callable(self.header) else self.header
        if given is None:
            headers: dict[str, str] = {}
        elif isinstance(given, Mapping):
            headers = dict(given)
        else:
            headers = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in given)}
        if self.cookie:
            headers["Cookie"] = self.cookie
        if host:
            headers["Host"] = host
        if origin:
            headers["Origin"] = origin
        return headers


def _check(dispatcher: object, ping_interval: float, ping_timeout: float | None) -> None:
    """WebSocketException for options of run_forever() that contradict each other."""
    if dispatcher is not None:
        raise WebSocketException("dispatchers are not supported: run_forever() may run in a thread")
    if ping_timeout is not None and ping_timeout <= 0:
        raise WebSocketException("Ensure ping_timeout > 0")
    if ping_interval and ping_timeout and ping_interval <= ping_timeout:
        raise WebSocketException("Ensure ping_interval > ping_timeout")


def _origin(url: str) -> str:
    """The Origin that websocket-client sends."""
    target = parse(url)
    return f"{'https' if target.secure else 'http'}://{target.authority}"


def _context(options: Mapping[str, Any] | None) -> ssl.SSLContext | None:
    """The TLS context for websocket-client's `sslopt`; None for the usual one."""
    if not options:
        return None
    given: ssl.SSLContext | None = options.get("context")
    if given is not None:
        return given
    context = ssl.create_default_context(cafile=options.get("ca_certs"), capath=options.get("ca_cert_path"))
    required = options.get("cert_reqs", ssl.CERT_REQUIRED)
    context.check_hostname = bool(options.get("check_hostname", required != ssl.CERT_NONE))
    context.verify_mode = required
    if options.get("certfile"):
        context.load_cert_chain(options["certfile"], options.get("keyfile"), options.get("password"))
    return context


def _proxy(
    host: str | None, port: int | str | None, auth: tuple[str, str] | None, kind: str | None, without: Iterable[str] | None, url: str
) -> str | None:  # fmt: skip
    """The URL of the proxy, None for none."""
    if not host:
        return None
    if parse(url).host in set(without or ()):
        return None
    user = "" if not auth else f"{quote(auth[0], safe='')}:{quote(auth[1], safe='')}@"
    scheme = {"socks5h": "socks5", "socks4a": "socks4"}.get(kind or "http", kind or "http")
    return f"{scheme}://{user}{host}:{port or (1080 if scheme.startswith('socks') else 80)}"
