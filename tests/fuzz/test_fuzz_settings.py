"""INI files: settings, or every problem; and what was read stays the same when it is written out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from tests.support.fuzzing import again, run
from tests.support.mutators import mutate
from wsdaemon.settings.ini import SettingsError, load
from wsdaemon.settings.model import Settings
from wsdaemon.settings.reference import effective

FOUND: list[bytes] = []

ROOT = Path(__file__).resolve().parents[2]
_LINE = re.compile(rb"^(?:# )?#?(\[[^]\n]+\]|[a-z_]+ =.*)$", re.MULTILINE)
_EMPTY = re.compile(rb"[a-z_]+ = *$")
_SECTION = re.compile(rb"^\[.*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)

REFERENCE = b"\n".join(_LINE.findall((ROOT / "etc/ws.reference.ini").read_bytes())) + b"\n"
SECTIONS = _SECTION.findall(REFERENCE)
"""Each with all its keys, which are comments in the file."""

EXAMPLE = (ROOT / "etc/ws.ini").read_bytes()
SMALL = b"[listener:web]\naddress = tcp:8080\n[mount:/echo]\napp = echo\n"

LINES = (
    b"[listener:tls]\naddress = tcp:8443:interface=127.0.0.1\ntls = my-certificate\n[tls:my-certificate]\ncertificate = a\nkey = b\n",
    b"[listener:unix]\naddress = unix:/run/ws.sock:mode=660\n",
    b"[mount:/chat/{room}]\napp = rooms\nhistory = 100\nhistory_age = 1h\n",
    b"[mount:/x/{a}/{b}]\napp = myapp:chat\nauth = staff, ticket\nmax_message = 64KiB\n",
    b"[auth:staff]\nkind = jwt\nkey = jwks.json\n",
    b"[auth:ticket]\nkind = ticket\n",
    b"[auth:basic]\nkind = basic\nfile = htpasswd\n",
    b"[auth:http]\nkind = http\nurl = http://127.0.0.1:9/x\n",
    b"[admin]\naddress = tcp:9000:interface=127.0.0.1\ntoken_file = token\n",
    b"[defaults]\norigins = https://www.example.com, *.example.org\nping_interval = 1500ms\nslow_client = latest\n",
)


def make(random: Random) -> bytes:
    parts = random.sample([*SECTIONS, *LINES], random.randint(0, 3))
    parts = [part for part in parts if not part.startswith((b"[listener:web", b"[mount:/echo"))]
    content = b"".join([random.choice((SMALL, SMALL, EXAMPLE)), *parts])
    if random.random() < 0.6:  # without most of the keys that have no value
        lines = content.splitlines(keepends=True)
        content = b"".join([line for line in lines if not _EMPTY.match(line) or random.random() < 0.1])
    return mutate(random, content, [*SECTIONS, *LINES]) if random.random() < 0.8 else content


def outcome(path: Path) -> Settings | SettingsError:
    try:
        return load(path)
    except SettingsError as error:
        return error


def checker(directory: Path) -> Callable[[Sequence[bytes]], None]:
    path = directory / "ws.ini"

    def check(contents: Sequence[bytes]) -> None:
        for content in contents:
            path.write_bytes(content)
            found = outcome(path)
            if isinstance(found, Settings):
                path.write_text(effective(found), "utf-8", newline="\n")
                assert outcome(path) == found, "written out and read again, it is something else"
                continue
            assert found.problems
            for problem in found.problems:
                assert problem.message and "\n" not in str(problem), str(problem)
                assert problem.line is None or 1 <= problem.line <= content.count(b"\n") + 1

    return check


def test_settings(tmp_path: Path) -> None:
    run("settings", make, checker(tmp_path))


def test_found(tmp_path: Path) -> None:
    for content in FOUND:
        again(content, checker(tmp_path))
