"""A WebSocket client that runs for ever: WebSocketClient, and its errors."""

from __future__ import annotations

from .client import WebSocketClient as WebSocketClient
from .errors import BadHandshake as BadHandshake
from .errors import BadRedirect as BadRedirect
from .errors import CertificateRejected as CertificateRejected
from .errors import ClientClosed as ClientClosed
from .errors import ClientError as ClientError
from .errors import ConnectFailed as ConnectFailed
from .errors import HandshakeRefused as HandshakeRefused
from .errors import QueueFull as QueueFull
from .life import State as State
