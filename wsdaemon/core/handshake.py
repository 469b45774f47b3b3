"""The values of an opening handshake: headers, cookies, addresses and the handshake itself. No I/O, and no parser of requests."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload
from urllib.parse import parse_qs

from .identity import Identity
from .traces import checked_traceparent

T = TypeVar("T")

MAX_QUERY_FIELDS = 1000
"""Fields of a query string beyond this number are ignored."""

_NO_PARAMS: Mapping[str, str] = {}

_AGENT, _TRACE = b"\r\nuser-agent:", b"\r\ntraceparent:"


class Headers(Mapping[str, str]):
    """The header lines of one request: immutable, in order, duplicates kept, names case-insensitive.

    As a mapping it has each name once, in lower case, with the value of its first line; `get_all` and `raw` have every line. Values are
    text in ISO-8859-1 (RFC 9110 5.5), so `value.encode("latin-1")` returns the original bytes.

    The headers are one bytes object (`\\r\\nname:value` for each line, and a last `\\r\\n`), because that takes a quarter of the memory of
    a tuple of pairs. Names keep the case and values the blanks around them that the client sent, because most headers are never looked
    up. A look-up is one search in the object in lower case, because no name has a colon, and no name or value has a CR or LF.
    """

    __slots__ = ("_block",)

    def __init__(self, raw: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """`raw` has pairs of name and value. ValueError for an empty name, a colon in a name, and a CR, LF or NUL anywhere."""
        parts = []
        for name, value in raw:
            if not name or b":" in name or not _safe(name) or not _safe(value):
                raise ValueError(f"not a header line: {name!r}: {value!r}")
            parts.append(name.lower() + b":" + value.strip(b" \t"))
        self._block = b"\r\n".join([b"", *parts, b""])

    @classmethod
    def trusted(cls, parts: list[bytes]) -> Headers:
        """Headers of checked lines: `name:value`, no blank before the colon."""
        return cls.as_sent(b"\r\n".join([b"", *parts, b""]))

    @classmethod
    def as_sent(cls, block: bytes) -> Headers:
        """Headers of checked lines, each between two CRLF: `\\r\\nname:value\\r\\nname:value\\r\\n`; a lone CRLF if there are none."""
        headers = cls.__new__(cls)
        headers._block = block
        return headers

    @property
    def block(self) -> bytes:
        """All lines as `as_sent()` takes them."""
        return self._block

    @property
    def raw(self) -> tuple[tuple[bytes, bytes], ...]:
        """Every line as (name in lower case, value), in the original order, like ASGI's `headers`. Computed at each access."""
        parted = [line.partition(b":") for line in self._block.split(b"\r\n")[1:-1]]
        return tuple([(name.lower(), value.strip(b" \t")) for name, _, value in parted])

    def _find(self, name: str) -> tuple[int, int]:
        """The start and end in the block of the first value of `name`; (-1, -1) if there is none."""
        if ":" in name or "\n" in name:
            return -1, -1
        key = b"\r\n" + name.lower().encode("latin-1", "replace") + b":"
        found = self._block.lower().find(key)
        if found < 0:
            return -1, -1
        begin = found + len(key)
        return begin, self._block.find(b"\r\n", begin)

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str) -> str: ...
    @overload
    def get(self, name: str, /, default: T) -> str | T: ...
    def get(self, name: str, /, default: Any = None) -> Any:
        """The value of the first line of that name."""
        begin, end = self._find(name)
        return default if begin < 0 else self._value(begin, end)

    def _value(self, begin: int, end: int) -> str:
        return self._block[begin:end].strip(b" \t").decode("latin-1")

    def get_all(self, name: str) -> list[str]:
        """The values of all lines of that name, in order; an empty list if there is none."""
        if self._find(name)[0] < 0:
            return []
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for found, value in self.raw if found == wanted]

    def joined(self, name: str) -> str | None:
        """The lines of that name as one list, joined by commas (RFC 9110 5.3); None if there is none."""
        values = self.get_all(name)
        return ", ".join(values) if values else None

    def with_members(self, name: str, members: Container[str]) -> Headers:
        """These headers, with the comma-separated lists of that name reduced to `members`. A line without any of them is left out."""
        wanted, lines = name.lower().encode("latin-1", "replace"), []
        for line in self._block.split(b"\r\n")[1:-1]:
            found, _, value = line.partition(b":")
            if found.lower() == wanted:
                kept = [member for each in value.decode("latin-1").split(",") if (member := each.strip(" \t")) in members]
                if kept:
                    lines.append(found + b":" + ", ".join(kept).encode("latin-1"))
            else:
                lines.append(line)
        return Headers.trusted(lines)

    def __getitem__(self, name: str) -> str:
        begin, end = self._find(name)
        if begin < 0:
            raise KeyError(name)
        return self._value(begin, end)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._find(name)[0] >= 0

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name.decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        return len({name for name, _ in self.raw})

    def __eq__(self, other: object) -> bool:
        return self.raw == other.raw if isinstance(other, Headers) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        """Names only: values may be secrets (Authorization, Cookie)."""
        return f"<Headers {', '.join(self)}>"


def _safe(part: bytes) -> bool:
    return b"\r" not in part and b"\n" not in part and b"\0" not in part


def cookies(headers: Headers) -> dict[str, str]:
    """The cookies of a request by name (RFC 6265 4.2), parsed as tolerantly as servers commonly do. Never raises.

    The first cookie of a name wins, because it has the longer path (RFC 6265 5.4). One pair of double quotes around a value is
    dropped. Bytes beyond ASCII are decoded as UTF-8 if possible, else as ISO-8859-1. A pair without a name or without `=` is left out.
    """
    jar: dict[str, str] = {}
    for line in headers.get_all("cookie"):
        for part in line.split(";"):
            name, equals, value = part.partition("=")
            name, value = name.strip(" \t"), value.strip(" \t")
            if not equals or not name:
                continue
            if len(value) > 1 and value[0] == value[-1] == '"':
                value = value[1:-1]
            jar.setdefault(_text(name), _text(value))
    return jar


def _text(value: str) -> str:
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        return value


@dataclass(frozen=True, slots=True)
class Peer:
    """An address. `port` is 0 if it is not known. The far end of a unix socket has the host "unix" and no port."""

    host: str
    port: int = 0

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_unix(self) -> bool:
        return self.host == "unix"

    @property
    def network(self) -> str:
        """The host, or the /64 network of an IPv6 host, which one customer has whole: whatever is counted by address is counted by it."""
        if ":" in self.host:
            try:
                return socket.inet_pton(socket.AF_INET6, self.host)[:8].hex(":", 2)
            except OSError:
                return self.host
        return self.host

    @classmethod
    def from_sockname(cls, address: object) -> Peer:
        """The peer of a `getpeername()` result. An IPv4 client of a dual-stack listener is given as IPv4; a scope (`%eth0`) is
        dropped."""
        if not isinstance(address, tuple) or len(address) < 2:
            return UNIX
        host, port = str(address[0]), int(address[1])
        if ":" in host:
            host = host.partition("%")[0]
            if host.lower().startswith("::ffff:"):
                host = str(ipaddress.IPv6Address(host).ipv4_mapped or host)
        return cls(host, port)


UNIX = Peer("unix")
"""The far end of a unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """A TLS client certificate that was verified against the listener's client_ca."""

    subject: str
    """Distinguished name (RFC 4514)."""
    common_name: str
    """Empty if there is none."""
    names: tuple[str, ...]
    """The DNS names, then the e-mail addresses, then the URIs of its subjectAltName."""
    issuer: str
    """Distinguished name (RFC 4514)."""
    serial: str
    """In hex."""
    fingerprint: str
    """SHA-256, in hex."""
    der: bytes

    @property
    def pem(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self.der)


@dataclass(frozen=True, slots=True)
class TlsSession:
    """The TLS session of a client on a listener that speaks TLS."""

    version: str
    """As OpenSSL writes it: TLSv1.3."""
    cipher: str
    cipher_suite: int
    """The number of the cipher suite in IANA's registry; 0 if it is not known."""


class LetGoError(RuntimeError):
    """An app read a part of a handshake after `let_go()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """An opening handshake that was admitted.

    After `let_go()` the attributes `target`, `query_string`, `query`, `headers`, `cookies`, `origin` and `client_certificate` raise
    LetGoError. They are never merely empty: a rule that denies by a cookie or a header must never let a client pass for lack of one.
    """

    target: str = field(repr=False)
    """The request target as the client sent it (RFC 9112 3.2). Its query may have secrets."""
    path: str
    """The path, percent-decoded, without the query."""
    raw_path: bytes
    """The path as the client sent it, without the query."""
    query_string: bytes = field(default=b"", repr=False)
    """The part after the first `?`, as the client sent it."""
    headers: Headers = field(default_factory=Headers)
    params: Mapping[str, str] = field(default_factory=lambda: _NO_PARAMS)
    """Values of the `{name}` segments of the mount's path."""
    peer: Peer = UNIX
    """The client's address; behind a trusted proxy, the address that the proxy gives."""
    local: Peer | str = ""
    """The daemon's end of the connection: an address, or the path of a unix socket."""
    secure: bool = False
    """Whether the client uses TLS, to this listener or to a trusted proxy."""
    client_certificate: ClientCertificate | None = None
    """The client's certificate, if the listener asks for one and the client has presented it."""
    identity: Identity | None = None
    """The authenticated user; None if the mount has no authentication."""
    http_version: str = "1.1"
    subprotocols: tuple[str, ...] = ()
    """The subprotocols that the client offered, its preferred ones first."""
    subprotocol: str | None = None
    """The chosen subprotocol."""
    tls: TlsSession | None = None
    """The TLS session; None without TLS on the listener itself, and for apps that do not decide about handshakes."""
    listener: str = ""
    """The listener's name."""
    mount: str = ""
    """The mount's name."""
    was_let_go: bool = field(default=False, init=False, compare=False)
    """Whether `let_go()` was called."""
    _agent: str | None = field(default=None, init=False, compare=False)
    """The user agent, after `let_go()`."""
    _trace: str | None = field(default=None, init=False, compare=False)
    """The traceparent, after `let_go()`."""

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            """Called for a missing attribute, such as one that `let_go()` freed."""
            if name in LET_GO:
                raise LetGoError(f"{name} is no longer there: an app with keeps_handshake = False has the whole handshake only in open()")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __repr__(self) -> str:
        """Leaves out query, headers and identity, because they may have secrets."""
        return f"<Handshake {self.path!r} from {self.peer}>"

    @property
    def query(self) -> dict[str, list[str]]:
        """The query string's fields with all their values in order, empty ones included. At most 1000 fields. Parsed at each access."""
        text = self.query_string.decode("latin-1")
        if text.count("&") >= MAX_QUERY_FIELDS:
            text = "&".join(text.split("&", MAX_QUERY_FIELDS)[:MAX_QUERY_FIELDS])
        return parse_qs(text, keep_blank_values=True)

    @property
    def cookies(self) -> dict[str, str]:
        """The request's cookies by name. Parsed at each access."""
        return cookies(self.headers)

    def let_go(self, agent: str | None = None, trace: str | None = None) -> None:
        """Free `target`, the query, the headers and the certificate; the user agent and the traceparent stay, for the log.

        The wire calls this once, when an app whose `keeps_handshake` is False has opened the connection. It changes the handshake in
        place, because a copy would cost as much as routing the request did. `agent` and `trace`: both of them, if the
        headers went in another process already.
        """
        if self.was_let_go:
            return
        names = self.headers.block.lower() if agent is None or trace is None else b""
        object.__setattr__(self, "_agent", self.user_agent if _AGENT in names else agent)
        object.__setattr__(self, "_trace", self.traceparent if _TRACE in names else trace)
        object.__setattr__(self, "was_let_go", True)
        for name in LET_GO:
            object.__delattr__(self, name)

    @property
    def user_agent(self) -> str | None:
        """The User-Agent header (RFC 9110 10.1.5). It stays readable after `let_go()`."""
        return self._agent if self.was_let_go else self.headers.get("user-agent")

    @property
    def traceparent(self) -> str | None:
        """The traceparent header (W3C Trace Context), if it is valid: `00-TRACE-PARENT-FLAGS`. It stays readable after `let_go()`."""
        return self._trace if self.was_let_go else checked_traceparent(self.headers.get_all("traceparent"))

    @property
    def origin(self) -> str | None:
        """The Origin header: the site of the page, if a browser opened the connection (RFC 6455 10.2)."""
        return self.headers.get("origin")


LET_GO = ("target", "query_string", "headers", "client_certificate")
"""Attributes of a handshake that `let_go()` frees."""


class Draft:
    """A handshake whose attributes are set one by one; `admitted` makes it a Handshake in place.

    Because a Handshake is frozen, its own constructor takes three times as long, and each opening handshake would pay for it.
    """

    __slots__ = Handshake.__slots__

    def __init__(
        self, target: str, path: str, raw_path: bytes, query_string: bytes, headers: Headers, params: Mapping[str, str], peer: Peer,
        local: Peer | str, secure: bool, client_certificate: ClientCertificate | None, identity: Identity | None,
        subprotocols: tuple[str, ...], subprotocol: str | None, listener: str, mount: str,
    ) -> None:  # fmt: skip
        self.target = target
        self.path = path
        self.raw_path = raw_path
        self.query_string = query_string
        self.headers = headers
        self.params = params
        self.peer = peer
        self.local = local
        self.secure = secure
        self.client_certificate = client_certificate
        self.identity = identity
        self.http_version = "1.1"
        self.subprotocols = subprotocols
        self.subprotocol = subprotocol
        self.tls: TlsSession | None = None
        self.listener = listener
        self.mount = mount
        self.was_let_go = False
        self._agent: str | None = None
        self._trace: str | None = None

    def admitted(self) -> Handshake:
        handshake: Any = self
        handshake.__class__ = Handshake
        made: Handshake = handshake
        return made
