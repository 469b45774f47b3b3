"""The settings: one frozen dataclass for each kind of section. Each field with `explain(...)` is a key of the INI file.

To add a setting, add one field, in the section where an operator would look for it:

    max_rooms: Count = field(default=100, metadata=explain("How many rooms one connection may join."))

The annotation (see `values`) chooses the form. A check that needs two values goes into `conflicts` of the dataclass.
Sizes are ints in bytes, durations floats in seconds, paths are absolute. Operators read the text of `explain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.admin import AdminSettings, TokenSettings
from wsdaemon.settings.auth import AuthNames, AuthSettings
from wsdaemon.settings.broker import BrokerSettings
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.form import ListForm
from wsdaemon.settings.listener import ListenerSettings as ListenerSettings
from wsdaemon.settings.listener import TlsSettings as TlsSettings
from wsdaemon.settings.origins import OriginForm
from wsdaemon.settings.problems import Problem
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.slow_client import SlowClient
from wsdaemon.settings.values import (
    MIB,
    App,
    CloseCode,
    Count,
    Duration,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    Reference,
    Size,
    Tokens,
    WholeForm,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings(SectionSettings):
    """[mount:PATH]: a URL path, the app it leads to and the limits on it.

    `options` are the options of a built-in app, an instance of its class in APP_OPTIONS; None for user code.
    """

    path: str
    options: SectionSettings | None = None
    app: App = field(
        metadata=explain(
            "The app that this mount runs. echo sends every message back. ticker pushes a line of JSON with the time at a fixed "
            "interval. rooms passes each client's messages on to all other members of its room. asgi runs an ASGI application. process "
            "runs a program for each connection. bridge connects each client to a TCP, TLS or unix socket, and proxy to another "
            "WebSocket server. module:function and module:Class are your own code.",
            inherited=False,
            example="echo",
        )
    )
    factory: Reference = field(
        default=None,
        metadata=explain(
            "With app = module:Class of Autobahn's kind: module:Factory makes its protocols and holds what they share. Empty: a plain "
            "factory.",
            inherited=False,
        ),
    )
    on_message: Literal["concurrent", "in_order"] = field(
        default="concurrent",
        metadata=explain(
            "With app = module:Class of Autobahn's kind. concurrent: the next message comes while coroutines and Deferreds of earlier ones "
            "are under way; up to 32 coroutines for a client. in_order: it comes when onMessage() is done with the one before."
        ),
    )
    subprotocols: Tokens = field(
        default=(), metadata=explain("The subprotocols that the daemon may choose from, the preferred one first. Empty: it chooses none.")
    )
    origins: Annotated[tuple[str, ...], ListForm(OriginForm())] = field(
        default=("same-origin",),
        metadata=explain(
            "Which sites' pages may connect, by the Origin header that browsers send. same-origin: pages from the same host and "
            "port as the listener. https://www.example.com: that site. *.example.com: all names below example.com. null: pages with "
            "an opaque origin. file://, app://bundle, app://*: pages of other schemes. any: every site. A client that sends no Origin "
            "passes."
        ),
    )
    auth: AuthNames = field(
        default=(),
        metadata=explain(
            "The [auth:NAME] sections that authenticate clients, asked in this order; the first that recognises the client decides. "
            "Empty: no authentication."
        ),
    )
    expiry_warning: Duration = field(
        default=0.0,
        metadata=explain(
            "How long before a client's token expires the app is told, so that it can warn the client. When the token expires, the "
            "connection is closed with 4401. 0: the app is not told."
        ),
    )
    max_message: PositiveSize = field(
        default=1 * MIB,
        metadata=explain("The largest message that a client may send, uncompressed. A larger one closes the connection with 1009."),
    )
    max_fragments: PositiveCount = field(
        default=100_000, metadata=explain("How many fragments one message of a client may have. More close the connection with 1009.")
    )
    max_connections: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections may be open on this mount. Beyond that a new client is answered 503. 0: no limit of its own."
        ),
    )
    max_connections_per_address: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections one client address may have open on this mount, counted as on a listener. Beyond that a "
            "new client is answered 429. 0: no limit of its own."
        ),
    )
    max_connections_per_user: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections one authenticated user may have open on this mount. Beyond that a new client is "
            "answered 429. 0: no limit."
        ),
    )
    connections_per_second_per_address: Count = field(
        default=0,
        metadata=explain(
            "How many new connections per second one client address may make on this mount; bursts of up to three seconds' worth "
            "are allowed. Addresses are counted as on a listener. Beyond that a new client is answered 429. 0: no limit of its own."
        ),
    )
    max_handshakes: Count = field(
        default=0,
        metadata=explain(
            "How many clients may wait for authentication at once. Beyond that a new client is answered 503. 0: no limit of its own."
        ),
    )
    ping_interval: Duration = field(
        default=25.0,
        metadata=explain("How long a connection may be silent before the daemon pings it. 0: never; a dead peer is then not noticed."),
    )
    ping_timeout: PositiveDuration = field(
        default=10.0,
        metadata=explain(
            "How long the answer to a ping may take. After that the connection is dropped. If it is longer than ping_interval, "
            "the daemon pings once per ping_timeout."
        ),
    )
    close_timeout: PositiveDuration = field(
        default=5.0, metadata=explain("How long the client's part of the closing handshake may take. After that the connection is dropped.")
    )
    send_backlog: PositiveSize = field(
        default=1 * MIB,
        metadata=explain("How many unsent bytes may wait for a client that reads slowly. slow_client decides what happens above this."),
    )
    send_backlog_age: Duration = field(
        default=60.0,
        metadata=explain(
            "With slow_client = close and wait: how long unsent data may wait before the client is closed with slow_client_code. "
            "0: no limit."
        ),
    )
    slow_client: SlowClient = field(
        default=SlowClient.CLOSE,
        metadata=explain(
            "The policy for a client that reads more slowly than messages are sent to it. close: when send_backlog is full, the "
            "client is closed with slow_client_code. drop_oldest: the oldest waiting messages are dropped. latest: only the newest "
            "message of each room is kept. wait: publishers wait for the client; after send_backlog_age it is closed with slow_client_code."
        ),
    )
    slow_client_code: CloseCode = field(
        default=1013,
        metadata=explain(
            "The close code of a client that the daemon closes as too slow. Some client libraries (faye, Qt, libwebsockets, Mono, "
            "OkHttp, gun) report 1013 as 1002; for their clients choose a code from 4000 to 4999."
        ),
    )
    messages_per_second: Count = field(
        default=0,
        metadata=explain(
            "How many messages per second a client may send; bursts of up to two seconds' worth are allowed. over_rate decides what "
            "happens above this. 0: no limit."
        ),
    )
    bytes_per_second: Size = field(
        default=0,
        metadata=explain(
            "How many bytes per second a client may send; bursts of up to two seconds' worth are allowed. over_rate decides what "
            "happens above this. 0: no limit."
        ),
    )
    over_rate: Literal["slow", "close"] = field(
        default="slow",
        metadata=explain(
            "The policy for a client that sends faster than the rates allow. slow: the daemon reads more slowly from it. close: it "
            "is closed with 1008."
        ),
    )
    control_frames_per_second: Count = field(
        default=100,
        metadata=explain("How many pings and pongs per second a client may send. More close the connection with 1008. 0: no limit."),
    )
    idle_timeout: Duration = field(
        default=0.0, metadata=explain("How long a connection may stay open without a message in either direction. 0: no limit.")
    )
    lifetime: Duration = field(default=0.0, metadata=explain("How long a connection may stay open in all. 0: no limit."))
    on_disconnect: Literal["cancel", "finish"] = field(
        default="cancel",
        metadata=explain(
            "The policy for coroutines of your own code that still run when their client has left. cancel: they are cancelled "
            "after disconnect_grace. finish: they run until they return. While the daemon stops, both have until drain_timeout."
        ),
    )
    disconnect_grace: Duration = field(
        default=5.0,
        metadata=explain("With on_disconnect = cancel: how long a coroutine may go on after its client has left."),
    )
    compression: bool = field(
        default=True, metadata=explain("Compress messages with permessage-deflate (RFC 7692) if the client offers it.")
    )
    compression_level: Annotated[int, WholeForm(1, 9)] = field(
        default=6, metadata=explain("The compression level. 1 is the fastest, 9 makes the smallest messages.")
    )
    compression_window_bits: Annotated[int, WholeForm(9, 15)] = field(
        default=11,
        metadata=explain(
            "The size of the compression window, as a power of two, in bytes. Each step up doubles the memory that the window takes "
            "on every connection."
        ),
    )
    compression_memory_level: Annotated[int, WholeForm(1, 9)] = field(
        default=4, metadata=explain("The memory that the compressor uses besides the window. Each step up doubles it.")
    )
    compression_threshold: Size = field(default=256, metadata=explain("Messages smaller than this are sent uncompressed."))
    compression_server_context_takeover: bool = field(
        default=True,
        metadata=explain(
            "Keep the daemon's compression window between messages, so that later messages compress better. off saves memory, and "
            "lets the members of a room share compressed messages."
        ),
    )
    compression_client_context_takeover: bool = field(
        default=True,
        metadata=explain(
            "Let the client keep its compression window between messages, so that later messages compress better. It takes up to a "
            "window of memory here, on each connection that has sent a compressed message. off saves that memory; but some clients "
            "overlook the daemon's answer then, and their second compressed message ends the connection (Tornado 6.6)."
        ),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """An empty list of origins is refused: it would let no page in, and is most likely a mistake."""
        if not self.origins:
            yield ("origins",), "expected at least one origin; any lets every site in"
        if "any" in self.origins and len(self.origins) > 1:
            yield ("origins",), "expected any alone: it lets every site in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings. `source` names the file, or the program that made the settings; equality ignores it and `warnings`.

    `warnings` are lines for the log: settings that work as they are, but look like a mistake.
    """

    daemon: DaemonSettings
    logging: LoggingSettings
    listeners: tuple[ListenerSettings, ...]
    mounts: tuple[MountSettings, ...]
    auths: tuple[AuthSettings, ...] = ()
    tls: tuple[TlsSettings, ...] = ()
    admin: AdminSettings | None = None
    tokens: tuple[TokenSettings, ...] = ()
    broker: BrokerSettings | None = None
    """None: the order of rooms is kept in this daemon."""
    source: str = field(compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    lines: Mapping[tuple[str, str | None], int] = field(default_factory=dict, compare=False, repr=False)
    """The line of each section's header (its name, None) and of each key (its section's name, the key), where there is a file."""

    def problem(self, section: str, message: str, key: str | None = None, value: str | None = None) -> Problem:
        """A problem of this section, found after the settings were read.

        Its line is that of `key`, also where [defaults] has it for a mount, else that of the section's header.
        """
        places: list[tuple[str, str | None]] = [(section, key), (section, None)]
        if section.startswith("mount:"):
            places.insert(1, ("defaults", key))
        line = next((self.lines[place] for place in places if place in self.lines), None)
        return Problem(self.source, line, section, key, value, message)
