"""The settings: one frozen dataclass for each kind of section. Each field with `explain(...)` is a key of the INI file.

To add a setting, add one field, in the section where an operator would look for it:

    max_rooms: Count = field(default=100, metadata=explain("How many rooms one connection may join."))

The annotation (see `values`) chooses the form. A check that needs two values goes into `conflicts` of the dataclass.
Sizes are ints in bytes, durations floats in seconds, paths are absolute. The text of `explain` is read by operators.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.admin import AdminSettings
from wsdaemon.settings.auth import AuthNames, AuthSettings
from wsdaemon.settings.form import ListForm
from wsdaemon.settings.listener import ListenerSettings as ListenerSettings
from wsdaemon.settings.listener import TlsSettings as TlsSettings
from wsdaemon.settings.origins import OriginForm
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import (
    MIB,
    App,
    Count,
    Destination,
    Directories,
    Duration,
    LevelName,
    Levels,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    Size,
    Tokens,
    WholeForm,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings(SectionSettings):
    """[daemon]: the process as a whole."""

    drain_timeout: Duration = field(
        default=10.0,
        metadata=explain("How long a stopping daemon waits for its connections to close by themselves before it drops the rest."),
    )
    max_connections: PositiveCount = field(
        default=10_000,
        metadata=explain("How many WebSocket connections may be open in all. Whoever comes after that is answered 503."),
    )
    retry_after: Duration = field(
        default=5.0,
        metadata=explain("How long a 503 tells the client to wait (the header Retry-After, in whole seconds, rounded up)."),
    )
    python_path: Directories = field(
        default=(),
        metadata=explain("Directories put in front of Python's module path, so that module:function is found. Relative to this file."),
    )
    accelerator: Literal["auto", "c", "python", "off"] = field(
        default="auto",
        metadata=explain(
            "What reads frames. auto: the compiled frame reader where it is built, else its Python twin. c: the compiled one, or no start. "
            "python: the twin. off: Autobahn's own parser reads every frame."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings(SectionSettings):
    """[logging]: what is logged, how and where to."""

    level: LevelName = field(default="info", metadata=explain("The least level that is logged."))
    levels: Levels = field(default_factory=dict, metadata=explain("Other levels for single namespaces and all that is below them."))
    format: Literal["auto", "text", "json"] = field(
        default="auto", metadata=explain("text: lines for people. json: one JSON object on each line. auto: text.")
    )
    destination: Destination = field(
        default="auto",
        metadata=explain(
            "Where the log goes. auto: wherever twistd's own --logfile or --syslog say, standard output otherwise. stdout: standard "
            "output. journal: the journal of systemd. A path: that file; relative to this file, as in ./ws.log."
        ),
    )
    connections: bool = field(default=True, metadata=explain("Log one line at the end of each connection."))


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSettings(SectionSettings):
    """[mount:PATH]: a URL path, the app it leads to and the limits on it.

    `options` are the options of a built-in app, an instance of its class in APP_OPTIONS; None for user code.
    """

    path: str
    options: SectionSettings | None = None
    app: App = field(
        metadata=explain(
            "What this mount runs. echo sends every message back. ticker pushes a line of JSON with the time, again and again. rooms: "
            "what one client sends, all others in its room get. "
            "module:function and module:Class are your own code.",
            inherited=False,
            example="echo",
        )
    )
    subprotocols: Tokens = field(
        default=(), metadata=explain("The subprotocols to choose from, the most wanted first. Empty: none is ever chosen.")
    )
    origins: Annotated[tuple[str, ...], ListForm(OriginForm())] = field(
        default=("same-origin",),
        metadata=explain(
            "Which sites' pages may connect, as browsers name them. same-origin: those from the very host and port that they connect to. "
            "https://www.example.com: that site. *.example.com: all names below example.com. null: pages without an origin. any: every "
            "site. Clients that are no browsers name no origin and are not held up by this."
        ),
    )
    auth: AuthNames = field(
        default=(),
        metadata=explain("The [auth:NAME] sections that tell who a client is; the first to know it decides. Empty: everybody may come in."),
    )
    expiry_warning: Duration = field(
        default=0.0,
        metadata=explain(
            "How long before the end of a client's token the app is told, so that it can warn the client. At its end the connection is "
            "closed with 4401. 0: never."
        ),
    )
    max_message: PositiveSize = field(
        default=1 * MIB, metadata=explain("The largest message a client may send, uncompressed. A larger one closes the connection.")
    )
    max_fragments: PositiveCount = field(
        default=100_000, metadata=explain("Into how many fragments a client may cut one message. More close the connection.")
    )
    max_connections: Count = field(
        default=0, metadata=explain("How many WebSocket connections may be open on this mount. 0: no limit of its own.")
    )
    max_connections_per_address: Count = field(
        default=0,
        metadata=explain(
            "How many WebSocket connections one client address may have open on this mount, counted as on a listener. 0: no own limit."
        ),
    )
    max_connections_per_user: Count = field(
        default=0,
        metadata=explain("How many WebSocket connections one user may have open on this mount, where auth tells who it is. 0: no limit."),
    )
    connections_per_second_per_address: Count = field(
        default=0,
        metadata=explain(
            "How many connections one client address may begin on this mount in a second, in the long run; three times as many at once "
            "after a pause. Counted as on a listener, and answered 429 beyond. 0: no limit of its own."
        ),
    )
    max_handshakes: Count = field(
        default=0,
        metadata=explain(
            "How many clients may wait at once until it is known who they are, where a way of auth needs time for that. Whoever comes "
            "after that is answered 503. 0: no limit of its own."
        ),
    )
    ping_interval: Duration = field(
        default=25.0, metadata=explain("How long a connection may be silent before it is pinged. 0: never; dead peers are then not found.")
    )
    ping_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long the answer to a ping may take before the connection is dropped.")
    )
    close_timeout: PositiveDuration = field(
        default=5.0, metadata=explain("How long the client's part of the closing handshake may take before the connection is dropped.")
    )
    send_backlog: PositiveSize = field(
        default=1 * MIB,
        metadata=explain("How much may wait, unsent, for a client that reads slowly. What becomes of more says slow_client."),
    )
    send_backlog_age: Duration = field(
        default=60.0,
        metadata=explain(
            "With slow_client = close and wait: how long something may wait, unsent, before a client is closed with 1013. 0: for ever."
        ),
    )
    slow_client: Literal["close", "drop_oldest", "latest", "wait"] = field(
        default="close",
        metadata=explain(
            "What becomes of a client that reads more slowly than it is sent. close: it is closed with 1013 when send_backlog is full. "
            "drop_oldest: the messages that have waited longest are dropped. latest: only the newest of each room is kept for it. "
            "wait: whoever publishes waits for it; it is closed with 1013 after send_backlog_age."
        ),
    )
    messages_per_second: Count = field(
        default=0, metadata=explain("How many messages a client may send each second, for two seconds at once. 0: no limit.")
    )
    bytes_per_second: Size = field(
        default=0, metadata=explain("How many bytes a client may send each second, for two seconds at once. 0: no limit.")
    )
    over_rate: Literal["slow", "close"] = field(
        default="slow",
        metadata=explain("What becomes of a client that sends faster. slow: it is read more slowly. close: it is closed with 1008."),
    )
    control_frames_per_second: Count = field(
        default=100,
        metadata=explain("How many pings and pongs a client may send each second. More close its connection with 1008. 0: no limit."),
    )
    idle_timeout: Duration = field(
        default=0.0, metadata=explain("How long a connection may be without a message in either direction. 0: for ever.")
    )
    lifetime: Duration = field(default=0.0, metadata=explain("How long a connection may last at all. 0: for ever."))
    compression: bool = field(
        default=True, metadata=explain("Compress messages with permessage-deflate (RFC 7692) where the client offers it.")
    )
    compression_level: Annotated[int, WholeForm(1, 9)] = field(
        default=6, metadata=explain("How hard to compress. 1 is the fastest, 9 gives the smallest messages.")
    )
    compression_window_bits: Annotated[int, WholeForm(9, 15)] = field(
        default=11,
        metadata=explain("The window of compression is 2 to this power, in bytes. Each step up doubles its memory on every connection."),
    )
    compression_memory_level: Annotated[int, WholeForm(1, 9)] = field(
        default=4, metadata=explain("The memory that compressing takes besides the window. Each step up doubles it.")
    )
    compression_threshold: Size = field(default=256, metadata=explain("Messages smaller than this are sent uncompressed."))
    compression_server_context_takeover: bool = field(
        default=True,
        metadata=explain("Keep what was sent, to compress the next one better. Off saves memory, and clients share compressed messages."),
    )
    compression_client_context_takeover: bool = field(
        default=False,
        metadata=explain("Let the client keep what it sent, for the same gain. On costs the window's memory here, on every connection."),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """An empty list of origins would let no page in, which nobody means by leaving it empty."""
        if not self.origins:
            yield ("origins",), "expected at least one; any lets every site in"
        if "any" in self.origins and len(self.origins) > 1:
            yield ("origins",), "expected any alone: it lets every site in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything. `source` names the file, or what made the settings; it and `warnings` have no part in equality.

    `warnings` are lines for the log: what can be used as it is, but looks like a mistake.
    """

    daemon: DaemonSettings
    logging: LoggingSettings
    listeners: tuple[ListenerSettings, ...]
    mounts: tuple[MountSettings, ...]
    auths: tuple[AuthSettings, ...] = ()
    tls: tuple[TlsSettings, ...] = ()
    admin: AdminSettings | None = None
    source: str = field(compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
