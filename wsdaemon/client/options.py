"""The types of a client's options. Their meaning is in settings/client.py."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, TypedDict


class ClientOptions(TypedDict, total=False):
    """The options of WebSocketClient that have a key's form: sizes and durations may be text with a unit, or numbers."""

    reconnect: str | bool | tuple[float, float] | None
    connect_timeout: float | str | timedelta
    handshake_timeout: float | str | timedelta
    read_timeout: float | str | timedelta
    close_timeout: float | str | timedelta
    ping_interval: float | str | timedelta
    ping_timeout: float | str | timedelta
    max_message: int | str
    max_fragments: int
    control_frames_per_second: int
    compression: bool
    compression_level: int
    compression_window_bits: int
    compression_memory_level: int
    compression_threshold: int | str
    compression_server_context_takeover: bool
    compression_client_context_takeover: bool
    queue: Literal["drop_oldest", "refuse", "wait"]
    queue_messages: int
    queue_bytes: int | str
    subprotocols: str | Sequence[str]
    redirects: int
