"""The settings of a client, by the names of the INI file where both have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Literal

from wsdaemon.settings.form import Form, RangeForm
from wsdaemon.settings.model import MountSettings
from wsdaemon.settings.problems import BadValue, Problem, SettingsError, did_you_mean
from wsdaemon.settings.schema import SectionSettings, explain, keys_of
from wsdaemon.settings.values import (
    MIB,
    Count,
    Duration,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    Size,
    Tokens,
    WholeForm,
)

SOURCE = "WebSocketClient"

Delays = tuple[float, float] | None
"""The shortest and the longest backoff in seconds; None: the client does not connect again."""


@dataclass(frozen=True, slots=True)
class ReconnectForm(Form[Delays]):
    """The range of the delays between attempts, such as `1s-60s`, or off."""

    @property
    def expected(self) -> str:
        return "a range of durations such as 1s-60s, or off"

    def parse(self, text: str) -> Delays:
        if text.lower() in ("off", "no", "false", "0"):
            return None
        if text.lower() in ("on", "yes", "true"):
            return DEFAULT_DELAYS
        if "-" not in text:
            raise self.refusal()
        return RANGE.parse(text)

    def accept(self, value: object) -> Delays:
        if value is None or value is False:
            return None
        if value is True:
            return DEFAULT_DELAYS
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise self.refusal()
        return RANGE.accept(value)

    def show(self, value: Delays) -> str:
        return "off" if value is None else RANGE.show(value)


DEFAULT_DELAYS = (1.0, 60.0)

RANGE = RangeForm()

QueuePolicy = Literal["drop_oldest", "refuse", "wait"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings(SectionSettings):
    """All that a WebSocketClient takes besides its URL, callbacks, headers and the ways to its server."""

    reconnect: Annotated[Delays, ReconnectForm()] = field(
        default=DEFAULT_DELAYS,
        metadata=explain(
            "The range of the delays before the client connects again. The n-th delay in a row is drawn evenly from 0 to the shortest "
            "times 2**(n-1), and at most the longest. off: a lost connection is the end."
        ),
    )
    connect_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long DNS, TCP, a proxy and TLS may take together, for each attempt.")
    )
    handshake_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long the server may take to answer the opening handshake.")
    )
    read_timeout: Duration = field(
        default=0.0,
        metadata=explain(
            "How long the server may send nothing at all, not even a pong; after that the connection is dropped. 0: no limit besides "
            "ping_interval and ping_timeout."
        ),
    )
    close_timeout: PositiveDuration = field(
        default=5.0, metadata=explain("How long the server's part of the closing handshake may take. After that the connection is dropped.")
    )
    ping_interval: Duration = field(
        default=25.0, metadata=explain("How long a connection may be silent before the client pings the server. 0: never.")
    )
    ping_timeout: PositiveDuration = field(
        default=10.0, metadata=explain("How long the answer to a ping may take. After that the connection is dropped.")
    )
    max_message: PositiveSize = field(
        default=1 * MIB,
        metadata=explain("The largest message that the server may send, uncompressed. A larger one closes the connection with 1009."),
    )
    max_fragments: PositiveCount = field(
        default=100_000, metadata=explain("How many fragments one message of the server may have. More close the connection with 1009.")
    )
    control_frames_per_second: Count = field(
        default=100,
        metadata=explain("How many pings and pongs per second the server may send. More close the connection with 1008. 0: no limit."),
    )
    compression: bool = field(default=True, metadata=explain("Offer permessage-deflate (RFC 7692)."))
    compression_level: Annotated[int, WholeForm(1, 9)] = field(
        default=6, metadata=explain("The compression level. 1 is the fastest, 9 makes the smallest messages.")
    )
    compression_window_bits: Annotated[int, WholeForm(9, 15)] = field(
        default=11, metadata=explain("The size of the compression window, as a power of two, in bytes; the server's, too, if it agrees.")
    )
    compression_memory_level: Annotated[int, WholeForm(1, 9)] = field(
        default=4, metadata=explain("The memory that the compressor uses besides the window. Each step up doubles it.")
    )
    compression_threshold: Size = field(default=256, metadata=explain("Messages smaller than this are sent uncompressed."))
    compression_server_context_takeover: bool = field(
        default=True, metadata=explain("Let the server keep its compression window between messages.")
    )
    compression_client_context_takeover: bool = field(
        default=True, metadata=explain("Keep the client's compression window between messages.")
    )
    queue: QueuePolicy = field(
        default="refuse",
        metadata=explain(
            "The policy for a message that is sent while the queue is full. The queue holds messages while the client is away, and while "
            "the server reads too slowly. drop_oldest: the oldest message of the queue is dropped. refuse: send() raises QueueFull. "
            "wait: send() blocks another thread; on the client's loop, await it."
        ),
    )
    queue_messages: PositiveCount = field(default=1000, metadata=explain("How many messages the queue holds."))
    queue_bytes: PositiveSize = field(default=4 * MIB, metadata=explain("How many bytes of messages the queue holds."))
    subprotocols: Tokens = field(default=(), metadata=explain("The subprotocols that the client offers, the preferred one first."))
    redirects: Count = field(
        default=0, metadata=explain("How many redirects of a handshake the client follows. Credentials go to the first origin alone.")
    )

    def on_the_wire(self) -> MountSettings:
        """The settings that a wire looks up."""
        return MountSettings(
            path="/", app="client", max_message=self.max_message, max_fragments=self.max_fragments, ping_interval=self.ping_interval,
            ping_timeout=self.ping_timeout, close_timeout=self.close_timeout,
            control_frames_per_second=self.control_frames_per_second,
            on_disconnect="finish",
            # The queue decides long before these, which would close the connection.
            send_backlog=MAX_BACKLOG_BYTES, send_backlog_age=0.0,
        )  # fmt: skip


MAX_BACKLOG_BYTES = 1 << 40


def client_settings(options: Mapping[str, object]) -> ClientSettings:
    """The settings of `options`. SettingsError with every problem."""
    keys = keys_of(ClientSettings)
    values: dict[str, object] = {}
    problems = []
    for name, value in options.items():
        if name not in keys:
            problems.append(Problem(SOURCE, None, None, name, None, f"no such option{did_you_mean(name, keys)}"))
            continue
        try:
            values[name] = keys[name].form.convert(value)
        except BadValue as error:
            problems.append(Problem(SOURCE, None, None, name, repr(value), str(error)))
    if problems:
        raise SettingsError(problems)
    return _shared(ClientSettings(**values))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _shared(settings: ClientSettings) -> ClientSettings:
    """Clients with equal settings share one object."""
    return settings
