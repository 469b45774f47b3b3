"""The filter in etc/fail2ban, by fail2ban's own program, on the log of a daemon that refuses passwords."""

from __future__ import annotations

import base64
import re
import subprocess
from pathlib import Path

import bcrypt
import pytest
from websockets.exceptions import InvalidStatus

from tests.support.daemon import ROOT, SECONDS, Daemon, program

pytestmark = pytest.mark.live

FILTER = ROOT / "etc" / "fail2ban" / "filter.d" / "wsdaemon.conf"
SETTINGS = """
[listener:web]
address = tcp:0:interface=127.0.0.1
trusted_proxies = 127.0.0.1

[mount:/echo]
app = echo
auth = staff

[auth:staff]
kind = basic
file = htpasswd
"""


def matched(log: Path) -> list[str]:
    """The lines that the filter takes for failed logins."""
    line = [program("fail2ban-regex", "Debian: fail2ban", "WSDAEMON_FAIL2BAN_REGEX"), "--print-all-matched", str(log), str(FILTER)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=SECONDS)
    _, _, after = done.stdout.partition("|- Matched line(s):")
    return [found[3:] for found in after.partition("`-")[0].splitlines() if found.startswith("|  ")]


def addresses(lines: list[str]) -> list[str]:
    return [match[1] for line in lines if (match := re.search(r"failed login from (\S+) at", line))]


def come(daemon: Daemon, address: str, user: str, password: str) -> int:
    headers = {
        "Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
        "X-Forwarded-For": address,
    }
    try:
        with daemon.connect(additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_sixteen_wrong_passwords_leave_lines_that_fail2ban_reads(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_bytes(b"ada:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)))
    (tmp_path / "htpasswd").chmod(0o600)
    with Daemon(tmp_path, SETTINGS) as daemon:
        assert come(daemon, "203.0.113.9", "ada", "right") == 101
        assert [come(daemon, "203.0.113.5", "ada", f"guess {number}") for number in range(16)] == [401] * 10 + [429] * 6
        assert come(daemon, "2001:db8::7", 'x" as "y": auth_refused failed login from 198.51.100.1 at "/', "guess") == 401
    log = tmp_path / "ws.log"
    log.write_text(daemon.log + "\n")
    assert "guess" not in daemon.log, "a wrong password may be one letter from the right one"
    assert addresses(matched(log)) == ["203.0.113.5"] * 10 + ["2001:db8::7"]


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ('2026-11-28T16:20:01.123Z warn  wsdaemon.auth  failed login from 203.0.113.5 at "/": admin_token', True),
        ('Nov 28 16:20:01 host twisted: wsdaemon.auth: failed login from 203.0.113.5 at "/" as "ada": auth_refused', True),
        ('Nov 28 16:20:01 host wsdaemon: wsdaemon.auth: failed login from 203.0.113.5 at "/" as "ada": auth_refused', True),
        ('2026-11-28T16:20:01.123Z warn  wsdaemon.auth worker=12  failed login from 203.0.113.5 at "/": auth_refused', True),
        ('wsdaemon.auth worker=2: failed login from 203.0.113.5 at "/" as "ada": auth_refused', True),
        ('2026-11-28T16:20:01.123Z warn  wsdaemon.auth  failed login from 203.0.113.5 at "/": auth_expired', False),
        ('2026-11-28T16:20:01.123Z info  my.app  failed login from 203.0.113.5 at "/": auth_refused', False),
        ("2026-11-28T16:20:01.123Z warn  wsdaemon.auth  6 more failed logins in the last minute have no line of their own", False),
    ],
)
def test_the_lines_of_each_destination(tmp_path: Path, line: str, counts: bool) -> None:
    log = tmp_path / "ws.log"
    log.write_text(line + "\n")
    assert matched(log) == ([line] if counts else [])
