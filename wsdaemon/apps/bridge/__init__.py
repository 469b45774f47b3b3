"""Bridges between WebSocket and TCP, TLS or unix sockets: `app = bridge`."""

from .app import BridgeApp as BridgeApp
from .app import BridgeRules as BridgeRules
from .tokens import Tokens as Tokens
from .tokens import TokensError as TokensError
