"""The texts that `init` writes. The units are those of the package, with the paths of this machine."""

from __future__ import annotations

import enum
import re
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from ..settings.addresses import TcpAddress, UnixAddress, parse_address
from ..settings.problems import BadValue
from ..settings.reference import reference_path
from .exits import CommandFailed, Exit


class SystemdKind(enum.Enum):
    """The units that are wanted."""

    NONE = "none"
    SERVICE = "service"
    SOCKET = "socket"


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialChoices:
    """The content of the files. `mounts` are paths and apps; `tls` a certificate and a key."""

    address: str
    mounts: tuple[tuple[str, str], ...]
    workers: str | None
    admin: bool
    systemd: SystemdKind
    user: str | None
    tls: tuple[str, str] | None


HEAD = """\
# wsdaemon's settings. Check them with: wsdaemon check -c {file}
# Every key, with its default and its help: {reference}
# An = separates a key from its value; comments have lines of their own.

[daemon]
# A stopping daemon waits this long for its clients to close.
drain_timeout = 10s
"""

WORKERS = """\
# The number of processes that serve clients, or auto: one for each core.
workers = {workers}
"""

DEFAULTS = """
[logging]
# debug, info, warn, error or critical
level = info

# The defaults of every mount; a [mount:...] may override them.
[defaults]
# The largest message that a client may send.
max_message = 1MiB
# The daemon pings a client that has been silent for this long.
ping_interval = 25s

# The address to accept connections on.
[listener:web]
address = {address}
"""

TLS = """\
# The certificate with its chain, and its key. Changed files are loaded without a restart.
tls_certificate = {certificate}
tls_key = {key}
"""

MOUNT = """
# {about}
[mount:{path}]
app = {app}
"""

ADMIN = """
# Health, metrics and an API for operators. Keep the token secret.
[admin]
address = tcp:9464:interface=127.0.0.1
token_file = admin-token
"""

NO_ADMIN = """
# Health, metrics and an API for operators: see docs/admin.md.
#[admin]
#address = tcp:9464:interface=127.0.0.1
#token_file = admin-token
"""

ABOUT = {
    "echo": "Sends every message back.",
    "ticker": "Pushes a line of JSON with the time at a fixed interval.",
    "rooms": "Publish and subscribe, with history and presence.",
}


def settings_text(choices: InitialChoices) -> str:
    """The INI file."""
    address = "systemd:name=wsdaemon" if choices.systemd is SystemdKind.SOCKET else choices.address
    text = HEAD.format(file="ws.ini", reference=reference_path())
    if choices.workers is not None:
        text += WORKERS.format(workers=choices.workers)
    text += DEFAULTS.format(address=address)
    if choices.tls is not None:
        text += TLS.format(certificate=choices.tls[0], key=choices.tls[1])
    for path, app in choices.mounts:
        text += MOUNT.format(about=ABOUT.get(app, "Your own code: module:name."), path=path, app=app)
    return text + (ADMIN if choices.admin else NO_ADMIN)


def units_folder() -> Path:
    """The folder with the units: beside `etc/` of a clone, and of an installed package."""
    return reference_path().parents[1] / "systemd"


def unit_texts(choices: InitialChoices, settings: Path) -> dict[str, str]:
    """The units by their file names."""
    match choices.systemd:
        case SystemdKind.NONE:
            return {}
        case SystemdKind.SERVICE:
            return {"wsdaemon.service": _service("wsdaemon.service", choices, settings)}
        case SystemdKind.SOCKET:
            return {
                "wsdaemon.socket": _socket(choices.address, settings.parent),
                "wsdaemon-activated.service": _service("wsdaemon-activated.service", choices, settings),
            }


def _socket(address: str, folder: Path) -> str:
    """The unit that has systemd open an address; systemd.socket(5). `folder` is that of the settings. CommandFailed if it cannot."""
    try:
        found = parse_address(address)
    except BadValue as error:
        raise CommandFailed(f"--address: {error}", Exit.USAGE) from None
    text = (units_folder() / "wsdaemon.socket").read_text()
    match found:
        case TcpAddress(port=port, interface=host) if port:
            before = f"[{host}]:" if ":" in host else f"{host}:" if host else ""
            lines = [f"ListenStream={before}{port}"]
            if host == "::":
                text = text.replace("BindIPv6Only=both", "BindIPv6Only=ipv6-only")
        case UnixAddress(path=path, mode=mode, user=user, group=group) if path.isprintable():
            owner = {"SocketUser": user, "SocketGroup": group}
            lines = [f"ListenStream={folder / path}", f"SocketMode={mode:04o}", *(f"{key}={name}" for key, name in owner.items() if name)]
            text = re.sub(r"(?m)^(BindIPv6Only|NoDelay|# One socket for IPv6).*\n", "", text)
        case _:
            raise CommandFailed(f"--address {address}: systemd opens tcp:PORT, with or without an interface, and unix:PATH", Exit.USAGE)
    listen = "\n".join(lines).replace("%", "%%")
    return re.sub(r"(?m)^ListenStream=.*$", lambda old: listen, text)


def _service(name: str, choices: InitialChoices, settings: Path) -> str:
    text = (units_folder() / name).read_text()
    scripts = Path(sysconfig.get_path("scripts"))
    text = text.replace("/opt/wsdaemon/bin/", f"{_escaped(str(scripts))}/").replace("/etc/wsdaemon/ws.ini", _escaped(str(settings)))
    if not (scripts / "twistd").exists():
        line = f"{_escaped(sys.executable)} -m wsdaemon run -c {_escaped(str(settings))}"
        text = re.sub(r"(?m)^ExecStart=.*$", lambda found: f"ExecStart={line}", text)
    if choices.user is not None:
        text = re.sub(r"(?m)^DynamicUser=yes$", lambda found: f"User={choices.user}", text)
    if any(str(path).startswith(("/home/", "/root/")) for path in (settings, scripts, sys.executable)):
        # The program or its settings are in a home directory.
        text = re.sub(r"(?m)^ProtectHome=yes$", "ProtectHome=read-only", text)
    return text


def _escaped(path: str) -> str:
    """A path in a unit: blanks, quotes and % have a meaning there; systemd.syntax(7), systemd.unit(5)."""
    path = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{path}"' if any(character.isspace() or character in "\"'" for character in path) else path
