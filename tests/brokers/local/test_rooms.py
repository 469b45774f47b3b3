"""brokers/local/rooms.py: the rooms and patterns of one member."""

from __future__ import annotations

from tests.brokers.test_memory import Listener
from wsdaemon.brokers.account import Account
from wsdaemon.brokers.local.rooms import Holder


def test_a_holder_names_the_pattern_by_which_it_hears_a_room() -> None:
    holder = Holder(Listener("a"), Account(1))
    assert (holder.hears("prices.eur"), holder.heard_by("prices.eur")) == (False, None)
    holder.patterns |= {"prices.*", ">", "other"}
    assert (holder.hears("prices.eur"), holder.heard_by("prices.eur")) == (True, ">")
