"""For tests of your own apps: a server without a port, clients that misbehave, and a clock to turn. docs/testing.md explains them."""

from __future__ import annotations

from .client import AppClient as AppClient
from .clock import TurnedClock as TurnedClock
from .serving import AppServer as AppServer
from .serving import connect as connect
from .serving import reconnect_storm as reconnect_storm
