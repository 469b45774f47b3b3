"""The daemon's log under twistd: the options of twistd, and the hand-over of our observer to it.

twistd makes its ``AppLogger`` from its options before ``makeService`` runs, and its ``logger`` option takes only the name of a
function that is called without arguments. So we use the other documented way: an ``ILogObserver`` component on the application.
twistd looks for it after ``makeService`` and before it daemonizes. A service can set it in ``setServiceParent``, where twistd hands
over the application.

Order of precedence: ``--logger``, then ``--syslog``, then ``--logfile``, then the settings file.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from twisted.logger import ILogObserver

from wsdaemon.ops.log_destinations import LogError
from wsdaemon.ops.log_standard import connect
from wsdaemon.ops.logs import STANDARD_OUTPUT, DaemonLog, LogOptions, make_log

DEFAULT_FILE: Final = "twistd.log"
"""The default log file of a twistd that daemonizes: in the directory that it was started in."""


def log_for_twistd(
    options: LogOptions,
    twistd: Mapping[str, Any],
    environ: Mapping[str, str],
    descriptor: int = STANDARD_OUTPUT,
) -> DaemonLog | None:
    """The log to use, not yet opened; None if ``--logger`` names an observer of the operator's own.

    ``twistd`` is twistd's options (``parent`` of the plugin's options); may be called in ``postOptions``. Raises LogError.
    """
    if twistd.get("logger"):
        return None
    chosen = replace(options, destination=destination(options.destination, twistd))
    return make_log(chosen, environ, descriptor=descriptor, syslog_prefix=syslog_prefix(twistd), owner=_file_owner(twistd))


def syslog_prefix(twistd: Mapping[str, Any]) -> str:
    """The name before each line in syslog."""
    return str(twistd.get("prefix") or "twisted")


def install(log: DaemonLog, application: Any) -> Callable[[], None]:
    """Open the log, make it the one that twistd uses for the application (a ``Componentized``), and send Python's ``logging`` there.

    Returns a function that takes `logging` away again. If the log cannot be opened, it ends the process with one line and status 1, because
    twistd would show a traceback.
    """
    try:
        log.open()
    except LogError as error:
        raise SystemExit(f"wsdaemon: {error}") from error
    application.setComponent(ILogObserver, log)
    return connect(log)


def destination(configured: str, twistd: Mapping[str, Any]) -> str:
    """Where the log goes: as twistd's options say, else as the settings do. Raises LogError."""
    if twistd.get("syslog"):
        return "syslog"
    in_foreground = bool(twistd.get("nodaemon") or twistd.get("debug"))
    named = twistd.get("logfile")
    chosen = ("stdout" if named == "-" else str(Path(named).absolute())) if named else configured
    if in_foreground:
        return chosen
    if chosen == "auto":
        return DEFAULT_FILE
    if chosen == "stdout":
        raise LogError("a daemon has no standard output to log to: add --nodaemon, or name a log file")
    return chosen


def _file_owner(twistd: Mapping[str, Any]) -> tuple[int, int] | None:
    """The user and group of the daemon after ``--uid`` and ``--gid``; None if the log file needs no other owner."""
    user, group = twistd.get("uid"), twistd.get("gid")
    if os.geteuid() != 0 or twistd.get("euid") or (user is None and group is None):
        return None
    if user is not None and group is None:
        group = pwd.getpwuid(user).pw_gid
    return (-1 if user is None else user, -1 if group is None else group)
