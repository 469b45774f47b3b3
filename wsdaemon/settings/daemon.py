"""The sections [daemon] and [logging]: the process as a whole, and its log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.access import FIELDS, AccessFormat
from wsdaemon.settings.control import AUTO, Control
from wsdaemon.settings.form import DurationForm, RangeForm
from wsdaemon.settings.listener import ListenerSettings as ListenerSettings
from wsdaemon.settings.listener import TlsSettings as TlsSettings
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import (
    Destination,
    Directories,
    Duration,
    LevelName,
    Levels,
    PositiveCount,
    PositiveDuration,
)
from wsdaemon.settings.workers import Workers


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings(SectionSettings):
    """[daemon]: the process as a whole."""

    drain_timeout: Duration = field(
        default=10.0,
        metadata=explain(
            "How long a stopping daemon waits for its clients to finish the closing handshake, and for coroutines, hooks and callbacks "
            "of your own code to finish. Then it drops the connections that are left, and cancels and logs the work that is left; plain "
            "functions in threads are only logged."
        ),
    )
    drain_grace: Duration = field(
        default=5.0,
        metadata=explain(
            "How long after SIGTERM the daemon accepts new clients, while /readyz answers 503 so that a load balancer finds other servers "
            "for them. Without [admin], after SIGINT and for stop() of WebSocketServer it is 0."
        ),
    )
    drain_over: Duration = field(
        default=0.0,
        metadata=explain(
            "A stopping daemon closes its connections in random order, evenly over this time, so that the clients do not all connect to "
            "the other servers at once. drain_timeout begins after it. 0: all at once."
        ),
    )
    drain_retry: Annotated[tuple[float, float], RangeForm(shortest=1.0)] = field(
        default=(1.0, 30.0),
        metadata=explain(
            "Each connection that a stopping daemon closes gets the close code 1012 and the reason restart; retry=N. N is the number of "
            "seconds after which its client should connect again, and is drawn for each client from this range."
        ),
    )
    start_timeout: PositiveDuration = field(
        default=90.0,
        metadata=explain(
            "How long the start may take in all, apps included. After this the apps that have started are stopped, and the daemon ends "
            "with status 1."
        ),
    )
    stall_warning: Duration = field(
        default=0.25,
        metadata=explain(
            "If one call of an app, or of the daemon, holds the loop for longer than this, no client is served meanwhile: a thread "
            "writes the app, its mount and the stack of that call to the log. 0: no such thread."
        ),
    )
    workers: Workers = field(
        default=None,
        metadata=explain(
            "How many processes serve clients. auto: one for each CPU that the daemon may use, the quota of its cgroup counted. Then a "
            "supervisor starts them, with a hub that holds rooms and counts for all of them, and starts again each one that dies. "
            "Empty: the daemon is one process."
        ),
    )
    worker_timeout: Annotated[float, DurationForm(zero=False, shortest=1.0)] = field(
        default=30.0,
        metadata=explain(
            "With workers: how long the event loop of a worker may stand still. Then the worker is killed and replaced, and the log shows "
            "the code that held the loop."
        ),
    )
    control: Control = field(
        default=AUTO,
        metadata=explain(
            "The unix socket, with mode 600, by which the commands of wsdaemon control the daemon, as in unix:/run/wsdaemon/control.sock. "
            "Only root and the daemon's own user may use it. auto: control.sock in systemd's RuntimeDirectory=, else a path of the user's "
            "own that is made from the path of this file. none: no such socket.",
            example="auto",
        ),
    )
    max_connections: PositiveCount = field(
        default=10_000,
        metadata=explain("How many WebSocket connections may be open in all. Beyond that a new client is answered 503."),
    )
    max_threads: PositiveCount = field(
        default=100,
        metadata=explain(
            "How many connections of plain functions, `def app(connection)`, may be open at once in each process that serves clients. "
            "Each has a thread. Beyond that a new client of such an app is answered 503."
        ),
    )
    retry_after: Duration = field(
        default=5.0,
        metadata=explain("How long the Retry-After header of a 503 asks the client to wait. The header has whole seconds, rounded up."),
    )
    python_path: Directories = field(
        default=(),
        metadata=explain(
            "Directories to put at the front of Python's module path, so that module:function is found. Relative to this file."
        ),
    )
    accelerator: Literal["auto", "c", "python", "off"] = field(
        default="auto",
        metadata=explain(
            "Which frame reader to use. auto: the compiled reader if it is built, else its Python twin. c: the compiled reader; if "
            "it is missing, the daemon does not start. python: the Python twin. off: Autobahn's own parser reads every frame."
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggingSettings(SectionSettings):
    """[logging]: the log's levels, format and destination."""

    level: LevelName = field(default="info", metadata=explain("The lowest level that is logged."))
    levels: Levels = field(default_factory=dict, metadata=explain("Levels for single namespaces and for everything below them."))
    format: Literal["auto", "text", "json"] = field(
        default="auto",
        metadata=explain(
            "text: lines for people. json: one JSON object per line. auto: text, without the time if systemd's journal adds it."
        ),
    )
    destination: Destination = field(
        default="auto",
        metadata=explain(
            "Where the log goes. auto: to the place that twistd's --logfile or --syslog names, else to standard output. stdout: to "
            "standard output. journal: to systemd's journal. A path: to that file; relative to this file, as in ./ws.log."
        ),
    )
    connections: bool = field(default=True, metadata=explain("Log one line when a connection ends."))
    access_format: AccessFormat = field(
        default="",
        metadata=explain(
            f"The text of that line, with fields in braces: {', '.join(FIELDS)}. Text of clients is escaped, and in quotes unless it is "
            "plain. Empty: the daemon's own text. format = json has each field on its own in any case."
        ),
    )
