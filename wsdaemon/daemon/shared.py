"""The parts that several workers share, as one of them sees these parts."""

from __future__ import annotations

from dataclasses import dataclass

from ..edge.auth.shared_tickets import TicketShelf
from ..edge.listeners import Sharing
from ..edge.shared import SharedPlaces
from ..ops.workers import Workers
from .brokers import Brokers


@dataclass(frozen=True, slots=True)
class Shared:
    """Parts that a daemon without workers does not have."""

    sharing: Sharing
    """The rule by which they accept from the same sockets."""
    brokers: Brokers
    """The order of rooms."""
    places: SharedPlaces
    """The counts of limits over all of them."""
    tickets: TicketShelf
    """One-time tickets, which any of them issues and any takes."""
    workers: Workers
    """The others, for the admin pages."""
