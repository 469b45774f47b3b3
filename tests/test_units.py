"""The systemd units: systemd itself reads them, counts their exposure, and the tests hold it to the numbers that README.md gives."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[1] / "systemd"
SERVICES = ("wsdaemon.service", "wsdaemon-activated.service")
EXPOSURE = {"wsdaemon.service": 1.4, "wsdaemon-activated.service": 0.2}
DAEMON = "/opt/wsdaemon/bin/twistd"
COMMAND = "/opt/wsdaemon/bin/wsdaemon"

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing (Debian package systemd)"
)


def settings_of(unit: str) -> dict[str, list[str]]:
    settings: dict[str, list[str]] = {}
    for line in (UNITS / unit).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key, []).append(value)
    return settings


def seconds(text: str) -> int:
    assert text.isdigit(), f"{text!r}: give a plain number of seconds, for readers and for this test"
    return int(text)


@needs_systemd_analyze
@pytest.mark.parametrize("unit", SERVICES)
def test_exposure_is_what_the_readme_says(unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(EXPOSURE[unit] * 10)}", str(UNITS / unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert found is not None, result.stderr
    assert float(found[1]) <= EXPOSURE[unit]
    assert result.returncode == 0


@needs_systemd_analyze
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    copies = []
    for unit in (*SERVICES, "wsdaemon.socket"):
        copy = tmp_path / unit
        copy.write_text((UNITS / unit).read_text().replace(DAEMON, sys.executable).replace(COMMAND, sys.executable))
        copies.append(str(copy))
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True, check=False, timeout=60)
    ours = [line for line in result.stderr.splitlines() if "wsdaemon" in line]
    assert ours == []
    assert result.returncode == 0


def test_readme_gives_the_exposure_that_is_tested() -> None:
    row = next(line for line in (UNITS / "README.md").read_text().splitlines() if line.startswith("| exposure"))
    assert [float(cell) for cell in re.findall(r"\b\d\.\d\b", row)] == [EXPOSURE[unit] for unit in SERVICES]


@pytest.mark.parametrize("unit", SERVICES)
def test_twistd_stays_in_front_and_systemd_is_told(unit: str) -> None:
    settings = settings_of(unit)
    assert settings["ExecStart"] == [f"{DAEMON} --nodaemon --pidfile= wsdaemon -c /etc/wsdaemon/ws.ini"]
    assert settings["Type"] == ["notify"]
    assert settings["NotifyAccess"] == ["main"]
    assert settings["ExecReload"] == [f"{COMMAND} reload -c /etc/wsdaemon/ws.ini"]
    assert "AF_UNIX" in settings["RestrictAddressFamilies"][0], "sd_notify needs it"


@pytest.mark.parametrize("unit", SERVICES)
def test_stop_leaves_more_than_a_minute_for_the_drain(unit: str) -> None:
    assert seconds(settings_of(unit)["TimeoutStopSec"][0]) > 60


def test_the_two_services_differ_only_where_they_must() -> None:
    own, activated = (settings_of(unit) for unit in SERVICES)
    different = {key for key in own.keys() | activated.keys() if own.get(key) != activated.get(key)}
    assert different == {
        "Description", "Wants", "After", "Requires", "Sockets", "PrivateUsers", "PrivateNetwork", "IPAddressDeny",
        "AmbientCapabilities", "CapabilityBoundingSet", "RestrictAddressFamilies", "WantedBy", "Also",
    }  # fmt: skip


def test_logrotate_never_truncates_and_lets_the_daemon_create_the_file() -> None:
    words = [line.strip() for line in (UNITS / "wsdaemon.logrotate").read_text().splitlines() if not line.strip().startswith("#")]
    assert "nocreate" in words
    assert "copytruncate" not in words
    assert settings_of("wsdaemon.service")["LogsDirectory"] == ["wsdaemon"]
    assert words[0] == "/var/log/wsdaemon/*.log {"


SANDBOX = """
import ctypes, json, socket, sys
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
seccomp.seccomp_init.restype = ctypes.c_void_p
class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]
allow, errno_eafnosupport, not_equal = 0x7FFF0000, 0x00050000 | 97, 1
context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(allow)))
number = seccomp.seccomp_syscall_resolve_name(b"socket")
rule = (Compare * 1)(Compare(0, not_equal, int(socket.AF_UNIX), 0))
assert seccomp.seccomp_rule_add_array(context, ctypes.c_uint32(errno_eafnosupport), number, 1, rule) == 0
assert seccomp.seccomp_load(context) == 0
result = {}
try:
    socket.socket(socket.AF_INET)
except OSError as error:
    result["new"] = error.errno
accepted, _ = socket.socket(fileno=listener.detach()).accept()
client.sendall(b"hello")
result["accepted"] = accepted.recv(5).decode()
import asyncio
import uvloop
async def echo():
    reader, writer = await asyncio.open_connection(sock=accepted)
    writer.write(b"back")
    await writer.drain()
    writer.close()
runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
runner.run(echo())
result["loop"] = client.recv(4).decode()
print(json.dumps(result))
"""


def test_passed_sockets_work_though_internet_sockets_cannot_be_made() -> None:
    """RestrictAddressFamilies=AF_UNIX is a filter on socket(2), as built here: accept(2) on a passed socket and uvloop go on working."""
    if sys.platform != "linux" or not shutil.which("systemd-analyze"):
        pytest.skip("needs libseccomp, which comes with systemd")
    result = subprocess.run([sys.executable, "-c", SANDBOX], capture_output=True, text=True, check=False, timeout=60)
    if "libseccomp.so.2" in result.stderr:
        pytest.skip("libseccomp.so.2 is missing (Debian package libseccomp2)")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"new": 97, "accepted": "hello", "loop": "back"}


WITHOUT_EXECUTABLE_MEMORY = """
import ctypes, mmap
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) != 0:  # PR_SET_MDWE, Linux 6.3
    raise SystemExit("the kernel has no PR_SET_MDWE")
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except OSError:
    pass
else:
    raise AssertionError("not enforced")
import asyncio, ssl
import autobahn.nvx, autobahn.websocket.protocol, twisted.internet.asyncioreactor, uvloop
ssl.create_default_context()
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(asyncio.sleep(0))
print("works")
"""


def test_what_the_daemon_is_built_on_works_without_executable_memory() -> None:
    """MemoryDenyWriteExecute=yes, by the kernel's own switch for the same rule."""
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_EXECUTABLE_MEMORY]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "PR_SET_MDWE" in result.stderr and "Traceback" not in result.stderr:
        pytest.skip("needs Linux 6.3")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "works\n"


def test_each_socket_of_the_unit_can_be_named() -> None:
    """Sockets of one unit share its name, so the unit as shipped, which README.md says to name, has one."""
    settings = settings_of("wsdaemon.socket")
    assert len(settings["ListenStream"]) == 1
    assert settings["Service"] == ["wsdaemon-activated.service"]
    assert f"`address = systemd:name={settings['FileDescriptorName'][0]}`" in (UNITS / "README.md").read_text()
