"""The rooms of one mount whose publishers must wait, because members of some worker are slow.

A worker holds a room and takes the hold back. A worker that hangs can take nothing back, so its holds rest until its loop turns again: its
members then get the messages of the meantime from the history, or are told of a gap.
"""

from __future__ import annotations

from collections.abc import Callable

from .server import WorkerLink


class Holds:
    """The workers that hold a room, by the room. `tell` is called with a room, and whether its publishers must wait from now on."""

    def __init__(self, tell: Callable[[str, bool], None]) -> None:
        self._tell = tell
        self._holders: dict[str, set[WorkerLink]] = {}
        self._resting: set[WorkerLink] = set()
        self._waiting: dict[str, None] = {}

    @property
    def rooms(self) -> list[str]:
        """The rooms whose publishers must wait."""
        return list(self._waiting)

    def hold(self, link: WorkerLink, room: str, held: bool) -> None:
        """As `Link.hold`."""
        if held:
            self._holders.setdefault(room, set()).add(link)
        elif room in self._holders:
            self._holders[room].discard(link)
        self._look(room)

    def forget(self, link: WorkerLink) -> None:
        """The worker has ended, or declares its holds anew."""
        self._resting.discard(link)
        for room in [room for room, holders in self._holders.items() if link in holders]:
            self.hold(link, room, False)

    def check(self, has_heartbeat: Callable[[WorkerLink], bool]) -> None:
        """Let the holds of workers rest whose loop does not turn, and no others. Call it several times a second."""
        if not self._holders:
            self._resting.clear()
            return
        resting = {link for link in set().union(*self._holders.values()) if not has_heartbeat(link)}
        if resting != self._resting:
            self._resting = resting
            for room in list(self._holders):
                self._look(room)

    def _look(self, room: str) -> None:
        holders = self._holders.get(room, set())
        if not holders:
            self._holders.pop(room, None)
        waits = not holders <= self._resting
        if waits != (room in self._waiting):
            if waits:
                self._waiting[room] = None
            else:
                del self._waiting[room]
            self._tell(room, waits)
