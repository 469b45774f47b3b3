"""command/client_options.py: the options of a client on the command line."""

from __future__ import annotations

import ssl
from base64 import b64encode
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.support.daemon import make_certificate
from wsdaemon.client import BadHandshake, CertificateRejected, ConnectFailed, OpeningRefused
from wsdaemon.command import client_options as options
from wsdaemon.command.exits import CommandFailed, Exit
from wsdaemon.core.handshake import Headers


def given(*line: str, **environ: str) -> dict[str, Any]:
    """The keyword arguments that a command line gives."""
    found: dict[str, Any] = {}

    @click.command()
    @options.client_options
    def command(**values: Any) -> None:
        found.update(values)

    done = CliRunner().invoke(command, line, env=environ)
    assert done.exit_code == 0, done.output
    assert set(found) == set(options.NAMES)
    return found


def test_a_client_is_made_of_the_options(tmp_path: Path) -> None:
    line = ["-s", "a", "-s", "b", "-H", "X-One: 1", "-H", "x-one: 2", "--cookie", "k=v", "--no-compression", "--max-message", "1KiB"]
    client = options.make_client("ws://127.0.0.1/", given(*line, "--origin", "https://example.com"), {})
    opener = client._opener
    assert opener.subprotocols == ("a", "b")
    assert ("X-One", "1, 2") in opener.headers
    assert ("Origin", "https://example.com") in opener.headers
    assert opener.settings.max_message == 1024
    assert not opener.settings.compression
    assert opener.settings.reconnect is None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (["-H", "no colon"], "--header: expected NAME:VALUE"),
        (["--cookie", "secret"], "--cookie: expected NAME=VALUE"),
        (["--max-message", "many"], "--max-message: "),
        (["-H", "Upgrade: websocket"], "the client sends it itself"),
        (["-H", "X: a\rb"], "header"),
    ],
)
def test_options_that_cannot_be_are_wrong_usage(line: list[str], text: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        options.make_client("ws://127.0.0.1/", given(*line), {})
    assert failed.value.exit_code == Exit.USAGE
    assert text in failed.value.message
    assert "secret" not in failed.value.message


def test_a_bad_url_is_wrong_usage() -> None:
    with pytest.raises(CommandFailed) as failed:
        options.make_client("gopher://127.0.0.1/", given(), {})
    assert failed.value.exit_code == Exit.USAGE


def test_basic_credentials_take_the_password_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.PASSWORD_VARIABLE, "from:outside")
    assert options.basic("me") == b64encode(b"me:from:outside").decode()
    assert options.basic("me:given") == b64encode(b"me:given").decode()


def test_a_token_comes_from_a_file_or_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    assert options.token_of(given("--token-file", str(tmp_path / "token"))) == "abc"
    assert options.token_of(given(WSDAEMON_TOKEN="def")) == "def"
    (tmp_path / "token").write_text("abc\ndef\n")
    with pytest.raises(ValueError, match="one line"):
        options.token_of(given("--token-file", str(tmp_path / "token")))
    (tmp_path / "token").write_bytes("\ufeffabc\r\n".encode())
    with pytest.raises(ValueError, match="byte order mark"):
        options.token_of(given("--token-file", str(tmp_path / "token")))


def test_tls_is_verified_unless_it_is_insecure(tmp_path: Path) -> None:
    assert options.tls_of(given()) is None, "the client's own default, which verifies"
    make_certificate(tmp_path)
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    verified = options.tls_of(given("--ca", certificate, "--cert", certificate, "--key", key))
    assert verified is not None
    assert (verified.verify_mode, verified.check_hostname) == (ssl.CERT_REQUIRED, True)
    insecure = options.tls_of(given("--insecure"))
    assert insecure is not None
    assert (insecure.verify_mode, insecure.check_hostname) == (ssl.CERT_NONE, False)
    with pytest.raises(ValueError, match="choose one"):
        options.tls_of(given("--insecure", "--ca", certificate))
    with pytest.raises(ValueError, match="--cert"):
        options.tls_of(given("--key", key))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OpeningRefused(403, "Forbidden", Headers()), Exit.REFUSED),
        (BadHandshake("no"), Exit.REFUSED),
        (ConnectFailed("no"), Exit.UNREACHABLE),
        (CertificateRejected("no"), Exit.UNREACHABLE),
        (RuntimeError("no"), Exit.FAILED),
    ],
)
def test_each_failure_has_its_status(error: BaseException, status: Exit) -> None:
    assert options.failure_of(error).exit_code == status


def test_the_reason_of_a_refusal_is_told_if_it_is_one() -> None:
    headers = Headers()
    assert options.failure_of(OpeningRefused(403, "Forbidden", headers, b"no such user\n")).message.endswith(": no such user")
    assert options.failure_of(OpeningRefused(403, "Forbidden", headers, b"403 Forbidden\n")).message.endswith("with 403 Forbidden")
    assert options.failure_of(OpeningRefused(403, "Forbidden", headers, b"\x1b[2J")).message.endswith("with 403 Forbidden")
