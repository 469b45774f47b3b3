"""daemon/admin.py: the token that guards the operator's pages, and the names that they are asked under."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.daemon.admin import watch_token
from wsdaemon.edge.auth.files import FileError
from wsdaemon.edge.hosts import LOOPBACK_HOSTS, Hosts

TOKEN = "0123456789abcdef"


def test_a_token_is_read_from_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert watch_token(tmp_path / "token").get() == TOKEN


@pytest.mark.parametrize("content", [b"", b"short", b"with blanks in it", b"\xff" * 20, b"\xef\xbb\xbf" + TOKEN.encode()])
def test_a_token_that_can_be_guessed_or_sent_by_nobody_is_refused_and_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(FileError) as caught:
        watch_token(tmp_path / "token")
    assert not content or content.decode("latin-1") not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="token"):
        watch_token(tmp_path / "token")


def test_loopback_names_are_the_default_hosts() -> None:
    hosts = Hosts.parse(LOOPBACK_HOSTS)
    assert all(hosts.serves(name) for name in ("localhost", "app.localhost", "127.0.0.1", "[::1]"))
    assert not any(hosts.serves(name) for name in ("rebound.example", "localhost.evil.example", "127.0.0.1.nip.io"))
