"""The control channel as commands use it: where its socket is, the form of requests and answers, and `ask`.

A request is one JSON object on a line: `{"command": "reload", ...arguments}`. The answer is any number of lines `{"line": "text"}`, which
tell of progress, and then exactly one with `status`: 0 (done), 1 (failed; `problems` has every reason), or 2 (busy: another operation is
under way). It has the results of the operation beside them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

MAX_LINE_BYTES: Final = 64 * 1024
"""Of a request."""

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""Of all lines of one answer together."""

DONE: Final = 0
FAILED: Final = 1
BUSY: Final = 2

SOCKET_NAME: Final = "control.sock"

RUNTIME_DIRECTORY: Final = "RUNTIME_DIRECTORY"
"""systemd's variable with the directory of RuntimeDirectory=, or several with colons between (systemd.exec(5))."""

ROOT_DIRECTORY: Final = Path("/run/wsdaemon.control")
"""Of daemons that root starts: each has a directory of its own in it, which belongs to the user that the daemon becomes (`--uid`)."""

UNIT_SOCKET: Final = Path("/run/wsdaemon", SOCKET_NAME)
"""The socket of a daemon that the shipped units started."""


class ControlError(Exception):
    """The daemon cannot be asked, or its answer makes no sense. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an operation."""

    status: int
    """DONE, FAILED or BUSY."""
    problems: Sequence[str] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that the operation answered."""


# -- the path


def chosen_path(settings: Path, environ: Mapping[str, str], user: int) -> Path:
    """The path of the socket if `[daemon] control` is `auto`.

    It is in `$RUNTIME_DIRECTORY` under systemd, else in the user's runtime directory, under a name made from the absolute path of the
    settings file. `user` is the number of the user that starts the daemon.
    """
    of_unit = environ.get(RUNTIME_DIRECTORY, "").split(":")[0]
    return Path(of_unit, SOCKET_NAME) if of_unit else next(_of_user(settings, user))


def possible_paths(settings: Path, environ: Mapping[str, str], user: int) -> list[Path]:
    """Every path that a daemon of this user may have chosen, or a shipped unit, the most likely one first."""
    return list(dict.fromkeys([chosen_path(settings, environ, user), *_of_user(settings, user), UNIT_SOCKET]))


def _of_user(settings: Path, user: int) -> Iterator[Path]:
    name = hashlib.sha256(os.fsencode(settings.absolute())).hexdigest()[:16]
    of_root = ROOT_DIRECTORY / name / SOCKET_NAME
    if user == 0:
        yield of_root
        return
    runtime = Path(f"/run/user/{user}")
    if runtime.is_dir():
        yield runtime / "wsdaemon" / f"{name}.sock"
    yield Path(f"/tmp/wsdaemon-{user}", f"{name}.sock")  # noqa: S108 - make_directory() refuses one of another user
    yield of_root


def make_directory(path: Path, user: int) -> None:
    """Make the directory of a chosen path, open to this user alone. OSError if it cannot be made or belongs to another user.

    Root takes a directory back that it has given to the user of an earlier daemon: nothing changes there while root uses it.
    """
    if user == 0 and path.parent == ROOT_DIRECTORY:
        _make_own(path.parent, user)
        path.parent.chmod(0o711)  # the users of daemons get to their own directory
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, user, -1, follow_symlinks=False)
    _make_own(path, user)


def _make_own(path: Path, user: int) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o022:
            raise PermissionError(f"{path} is not a directory that belongs to this user alone") from None


# -- asking


def ask(
    path: Path, command: str, arguments: Mapping[str, Any] | None = None, on_line: Callable[[str], object] = lambda line: None,
    timeout: float | None = None,
) -> Outcome:  # fmt: skip
    """Have the daemon at `path` carry out an operation, and wait for its end. `on_line` gets each line of progress.

    `timeout`: seconds that the daemon may be silent; None: any time. ControlError if it cannot be asked, does not answer, or is another
    user's (may_listen).
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(str(path))
            _check_listener(sock, path)
            sock.sendall(json.dumps({**(arguments or {}), "command": command}).encode() + b"\n")
            with sock.makefile("rb") as lines:
                return _read_answer(lines, path, on_line)
    except TimeoutError:
        raise ControlError(f"{path}: the daemon has not answered within {timeout:g} s") from None
    except OSError as error:
        raise ControlError(f"{path}: {_why(error)}") from error


def peer_of(sock: Any) -> tuple[int, int]:
    """The process and the user at the other end of a unix socket: unix(7), SO_PEERCRED. OSError."""
    process, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return process, user


def _check_listener(sock: socket.socket, path: Path) -> None:
    """ControlError unless the process that listens there may be believed: unix(7), SO_PEERCRED."""
    _, listener = peer_of(sock)
    if not may_listen(path, listener, os.geteuid()):
        text = f"{path}: user {listener} listens there, and that is neither root, nor this user, nor the only owner of its directory"
        raise ControlError(text) from PermissionError(errno.EACCES, "a stranger listens there")


def may_listen(path: Path, listener: int, user: int) -> bool:
    """Whether `user` may believe a daemon of the user `listener` at this path.

    Root and the user itself may listen anywhere. Another user may do so only where none but these three can have put the socket, such as
    /run/wsdaemon, which systemd gives to the daemon's user: in /tmp anyone can take a name before the daemon does.
    """
    if listener in (0, user):
        return True
    folder = path.absolute().parent.resolve()
    found = [each.stat() for each in (folder, *folder.parents)]
    return all(each.st_uid in (0, user, listener) and not each.st_mode & 0o022 for each in found)


def _read_answer(lines: Any, path: Path, on_line: Callable[[str], object]) -> Outcome:
    left = MAX_ANSWER_BYTES
    while line := lines.readline(left):
        left -= len(line)
        try:
            told = json.loads(line)
            if not isinstance(told, dict):
                raise ValueError("no object")
        except ValueError:
            raise ControlError(f"{path}: the answer is not of a wsdaemon") from None
        if "status" in told:
            status, problems = told.pop("status"), told.pop("problems", [])
            return Outcome(int(status), [str(each) for each in problems], told)
        on_line(str(told.get("line", "")))
    raise ControlError(f"{path}: the daemon closed the connection before it had answered")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no daemon has its control channel there"
    if isinstance(error, ConnectionRefusedError):
        return "the daemon that had its control channel there has ended"
    if isinstance(error, PermissionError):
        return "permission denied: only root and the daemon's own user may control it"
    return error.strerror or str(error)
