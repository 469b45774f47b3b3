"""The types of the options that WebSocketServer, route() and mount() take. Their meaning is that of the INI file's keys.

A test makes this file from the settings: `python -m tests.test_options` writes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from re import Pattern
from typing import Any, Literal, TypedDict

from .apps.rooms.hooks import Hooks


class RouteOptions(TypedDict, total=False):
    """The options of a [mount:PATH] section that runs the user's code."""

    factory: str | type[object] | None
    on_message: Literal["concurrent", "in_order"]
    subprotocols: str | Sequence[str]
    origins: str | Sequence[str]
    auth: str | Sequence[str]
    expiry_warning: float | str | timedelta
    max_message: int | str
    max_fragments: int
    max_connections: int
    max_connections_per_address: int
    max_connections_per_user: int
    connections_per_second_per_address: int
    max_handshakes: int
    ping_interval: float | str | timedelta
    ping_timeout: float | str | timedelta
    close_timeout: float | str | timedelta
    send_backlog: int | str
    send_backlog_age: float | str | timedelta
    slow_client: Literal["close", "drop_oldest", "latest", "wait"]
    slow_client_code: int
    messages_per_second: int
    bytes_per_second: int | str
    over_rate: Literal["slow", "close"]
    control_frames_per_second: int
    idle_timeout: float | str | timedelta
    lifetime: float | str | timedelta
    on_disconnect: Literal["cancel", "finish"]
    disconnect_grace: float | str | timedelta
    compression: bool
    compression_level: int
    compression_window_bits: int
    compression_memory_level: int
    compression_threshold: int | str
    compression_server_context_takeover: bool
    compression_client_context_takeover: bool


class MountOptions(RouteOptions, total=False):
    """Those, and the options of the built-in apps."""

    interval: float | str | timedelta
    publish: Literal["clients", "server", "none"]
    echo_to_sender: bool
    policy: str | Hooks | type[Hooks] | None
    hook_timeout: float | str | timedelta
    room_names: str | Pattern[str]
    max_rooms: int
    memory: int | str
    max_members: int
    max_subscriptions: int
    max_patterns: int
    room_messages_per_second: int
    requests_per_second: int
    history: int
    history_age: float | str | timedelta
    history_bytes: int | str
    latest: bool
    room_idle: float | str | timedelta
    command: str | Sequence[str]
    shell: bool
    directory: str | PathLike[str] | None
    environment: str | Mapping[str, str | None]
    framing: Literal["lines", "binary", "netstring", "json"]
    newlines: Literal["refuse", "escape"]
    output: Literal["auto", "text", "binary"]
    max_output: int | str
    max_processes: int
    refuse_status: int
    start_timeout: float | str | timedelta
    stop_timeout: float | str | timedelta
    exit_codes: str | Mapping[int, int]
    max_cpu: float | str | timedelta
    max_memory: int | str
    max_files: int
    shared: bool
    application: str | Callable[..., Any]
    http: bool
    lifespan: Literal["auto", "on", "off"]
    target: str | Sequence[str]
    tokens: str | PathLike[str] | None
    allow_targets: str | Sequence[str]
    connect_timeout: float | str | timedelta
    send_proxy: Literal["off", "v1", "v2"]
    target_ca: str | PathLike[str] | None
    target_name: str
    target_certificate: str | PathLike[str] | None
    target_key: str | PathLike[str] | None
    max_failures: int
    fail_timeout: float | str | timedelta
    preserve_host: bool
    max_target_message: int | str
    target_compression: bool


class ServerOptions(MountOptions, total=False):
    """The options of [daemon], [logging] and [listener:NAME], and those of mounts, which every route starts from."""

    drain_timeout: float | str | timedelta
    drain_grace: float | str | timedelta
    drain_over: float | str | timedelta
    drain_retry: str | tuple[float, float]
    stall_warning: float | str | timedelta
    workers: int | str | None
    worker_timeout: float | str | timedelta
    control: str
    max_threads: int
    retry_after: float | str | timedelta
    python_path: str | Sequence[str | PathLike[str]]
    accelerator: Literal["auto", "c", "python", "off"]
    level: Literal["debug", "info", "warn", "error", "critical"]
    levels: Mapping[str, str]
    format: Literal["auto", "text", "json"]
    destination: str | PathLike[str]
    connections: bool
    access_format: str
    tls_certificate: str | PathLike[str] | None
    tls_key: str | PathLike[str] | None
    client_ca: str | PathLike[str] | None
    client_certificate: Literal["none", "optional", "required"]
    proxy_protocol_from: str | Sequence[str]
    proxy_protocol_secure: bool
    trusted_proxies: str | Sequence[str]
    forwarded_header: Literal["x-forwarded-for", "forwarded"]
    index_page: Literal["auto", "on", "off"]
    console: bool
    hosts: str | Sequence[str]
    backlog: int
    handshake_timeout: float | str | timedelta
    max_handshakes_per_address: int


class AdminOptions(TypedDict, total=False):
    """The options of [admin]."""

    address: str
    tls_certificate: str | PathLike[str] | None
    tls_key: str | PathLike[str] | None
    tls: str | Sequence[str]
    client_ca: str | PathLike[str] | None
    client_certificate: Literal["none", "optional", "required"]
    token_file: str | PathLike[str] | None
    hosts: str | Sequence[str]
    tap: Literal["off", "on", "payload"]
    metrics_open: bool
    max_body: int | str
    max_connections: int
    timeout: float | str | timedelta
