"""check.py: everything that a start would need, without serving."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsdaemon.daemon.check import check
from wsdaemon.settings import ini


@pytest.fixture(autouse=True)
def module_path() -> Iterator[None]:
    """A check puts [daemon] python_path on the module path, and imports from it."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def run(directory: Path, text: str) -> int:
    file = directory / "ws.ini"
    file.write_text(text)
    return check(ini.load(file))


GOOD = """
[daemon]
python_path = .
[listener:main]
address = tcp:8080:interface=127.0.0.1
[listener:inner]
address = tcp:8081:interface=127.0.0.1
mounts = /echo
[mount:/echo]
app = echo
[mount:/chat]
app = checked_app:chat
"""


def test_what_would_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checked_app.py").write_text("async def chat(connection): ...\n")
    assert run(tmp_path, GOOD) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "listener main: ws on tcp:8080:interface=127.0.0.1",
        "  /echo  echo",
        "  /chat  checked_app:chat",
        "listener inner: ws on tcp:8081:interface=127.0.0.1",
        "  /echo  echo",
        f"{tmp_path}/ws.ini is good",
    ]
    assert err == ""


def test_all_problems_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("not PEM")
    (tmp_path / "key.pem").chmod(0o600)
    text = GOOD.replace("[listener:inner]\n", "[listener:inner]\ntls_certificate = cert.pem\ntls_key = key.pem\n")
    assert run(tmp_path, text) == 1
    out, err = capsys.readouterr()
    assert out == ""
    missing, certificate = err.splitlines()
    assert missing == (
        f"wsdaemon: {tmp_path}/ws.ini: [mount:/chat] app = checked_app:chat: there is no module checked_app; "
        "is its directory in [daemon] python_path?"
    )
    assert certificate.startswith(f"wsdaemon: {tmp_path}/ws.ini: [listener:inner] ")


def test_nothing_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another daemon may be serving with this file."""
    (tmp_path / "ws.sock").write_text("taken")
    assert run(tmp_path, f"[listener:main]\naddress = unix:{tmp_path}/ws.sock\n[mount:/]\napp = echo\n") == 0
    assert (tmp_path / "ws.sock").read_text() == "taken"
    assert "is good" in capsys.readouterr().out
