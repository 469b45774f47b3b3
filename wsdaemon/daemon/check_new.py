"""The check of new code before an upgrade, in a process of its own: `python -c "from wsdaemon.daemon.check_new import main; main()"`.

It reads the state that the supervisor would leave, imports everything that the next generation consists of, and looks at the settings as
`--check` does. Its last line is JSON: `{"problems": [...]}`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from ..settings.addresses import Address
from ..settings.model import Settings
from .inheritance import InheritanceError
from .sockets import Bound, LeftSocket, SocketSource, wanted_sockets
from .supervisor_state import SupervisorState

ANOTHER_ADDRESS = "an upgrade keeps the listening sockets as they are: reload or restart the daemon for another address"


ANOTHER_CONTROL = "[daemon] control has changed, and an upgrade keeps the control channel as it is: restart the daemon for another one"
ANOTHER_LOG = "[logging] destination has changed, and an upgrade keeps the log as it is: restart the daemon for another one"


class Held:
    """The sockets that the daemon has already, which no trial could bind once more."""

    def __init__(self, sockets: Mapping[str, LeftSocket], trial: SocketSource) -> None:
        self._sockets = sockets
        self._trial = trial

    def take(self, section: str, address: Address, backlog: int) -> Bound:
        left = self._sockets.get(section)
        if left is None or left.address != str(address):
            return self._trial.take(section, address, backlog)
        return Bound(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))


def problems_of(state: SupervisorState) -> list[str]:
    """Everything that keeps the next generation from a start, as far as can be known before."""
    from . import hub, successor, worker  # noqa: F401 - everything that the next generation imports
    from .check import Trial, problems_with

    settings, problems = state.read_settings(state.new_settings)
    if settings is None or problems:
        return [str(problem) for problem in problems]
    if settings.daemon.workers is None:
        return [f"{settings.source}: [daemon] workers is empty now: restart the daemon for a single process"]
    wanted = {section: str(address) for section, address, _ in wanted_sockets(settings)}
    if wanted != {section: left.address for section, left in state.sockets.items()}:
        return [f"{settings.source}: {ANOTHER_ADDRESS}"]
    if changed := kept_settings(state, settings):
        return [f"{settings.source}: {line}" for line in changed]
    return [str(problem) for problem in problems_with(settings, Path(state.directory), Held(state.sockets, Trial()))]


def kept_settings(state: SupervisorState, settings: Settings) -> list[str]:
    """A line for each setting that has changed although an upgrade cannot change it."""
    old, _ = state.read_settings(state.settings)
    if old is None:  # the new code does not know the old form any more
        return []
    return [
        line
        for line, changed in (
            (ANOTHER_CONTROL, old.daemon.control != settings.daemon.control),
            (ANOTHER_LOG, old.logging.destination != settings.logging.destination),
        )
        if changed
    ]


def main() -> None:
    """Write the problems to standard output as the last line; the exit status is 0 if there are none."""
    try:
        problems = problems_of(SupervisorState.read(os.environ))
    except InheritanceError as error:
        problems = [str(error)]
    except Exception:
        problems = [traceback.format_exc().rstrip()]
    print("\n" + json.dumps({"problems": problems}), flush=True)
    sys.exit(1 if problems else 0)
