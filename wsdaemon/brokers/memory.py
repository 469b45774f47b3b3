"""The broker that lives in this process's memory: rooms, members and patterns, with nothing to start and nothing to wait for.

Not thread-safe: call it from one thread, the loop's. Times come from an injected clock; whoever owns the broker calls `sweep` now and then.

How the order holds. A publish gives the message its offset, puts it into history and into its room's queue, together with the members of that
moment; the fan delivers each room's queue strictly from its head. A member that joins is not among the members of what waits, so it is given
exactly the later offsets, and recovers the earlier ones from history. A member that leaves while something waits is noted in `settled` with the
room's offset: up to that offset the fan passes it over, even if it has joined again since.
"""

from __future__ import annotations

import heapq
import math
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from . import contract
from .contract import Change, HistoryPage, Member, Message, Position, Presence, PresencePage, Published, RoomInfo, Subscribed
from .fan import Delivery, Fan, NoticePass, Queue, Watch
from .history import History, RateBucket, RecentKeys
from .patterns import PatternIndex, check_pattern, fits, matches
