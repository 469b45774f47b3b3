"""edge/auth/make.py: authenticators out of settings, and what each kind costs to load."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.auth import RSA_KEY, Clock, logged, outcome, public_pem, request, run, settings_of, write
from wsdaemon.edge.auth.make import Authenticators, AuthError, make_authenticators
from wsdaemon.edge.auth.ticket import TicketAuthenticator, TicketBook
from wsdaemon.settings.build import build, section


def test_one_of_each(tmp_path: Path) -> None:
    write(tmp_path / "htpasswd", "")
    write(tmp_path / "key.pem", public_pem(RSA_KEY))
    settings = build(
        [
            section("listener:a", address="tcp:0"),
            section("mount:/", app="echo", auth="a, b, c, d, e"),
            section("auth:a", kind="basic", file="htpasswd"),
            section("auth:b", kind="jwt", algorithms="RS256", key_file="key.pem", token_from="subprotocol:bearer."),
            section("auth:c", kind="tls"),
            section("auth:d", kind="ticket", lifetime="5s", max_tickets=1),
            section("auth:e", kind="http", url="https://auth.example/"),
        ],
        "ws.ini",
        tmp_path,
    )
    clock = Clock()
    found = make_authenticators(settings, now=Clock(), clock=clock)
    assert list(found) == ["a", "b", "c", "d", "e"] and len(found) == 5
    chain = found.chain(settings.mounts[0].auth[:4])
    assert chain is not None
    assert chain.offered(("bearer.x", "chat")) == ("chat",)
    way = found["d"]
    assert isinstance(way, TicketAuthenticator)
    book = way.book
    assert isinstance(book, TicketBook)

    async def life() -> None:
        await found.start()
        ticket = book.issue("ada")
        identity = await outcome(chain.authenticate(request(target=f"/?ticket={ticket}")))
        assert identity is not None and identity.method == "ticket:d"
        found.refresh()
        await found.stop()

    run(life())
    assert found.chain(()) is None


def problems(tmp_path: Path, kind: str, **keys: Any) -> list[str]:
    with pytest.raises(AuthError) as caught:
        make_authenticators(settings_of(kind, tmp_path, **keys))
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return [str(problem) for problem in caught.value.problems]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert problems(tmp_path, "basic", file="none") == [f"ws.ini: [auth:way] file: {tmp_path}/none: No such file or directory"]
    assert problems(tmp_path, "jwt", algorithms="RS256", jwks_file="none") == [
        f"ws.ini: [auth:way] jwks_file: {tmp_path}/none: No such file or directory"
    ]
    assert problems(tmp_path, "http", url="https://a.example", ca_file="none") == ["ws.ini: [auth:way] ca_file: No such file or directory"]
    write(tmp_path / "bad", "nonsense")
    (problem,) = problems(tmp_path, "http", url="https://a.example", ca_file="bad")
    assert problem.startswith("ws.ini: [auth:way] ca_file: ")


@pytest.mark.parametrize(
    ("kind", "keys", "modules", "message"),
    [
        ("basic", {"file": "f"}, ["argon2", "bcrypt"], "needs argon2-cffi and bcrypt, which are not installed"),
        ("jwt", {"algorithms": "RS256", "key_file": "f"}, ["jwt"], "needs PyJWT, which is not installed"),
        ("http", {"url": "http://a.example"}, ["h11"], "needs h11, which is not installed"),
    ],
)
def test_a_library_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, keys: dict[str, Any], modules: list[str], message: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in modules else real(name))
    assert problems(tmp_path, kind, **keys) == [f"ws.ini: [auth:way] kind = {kind}: {message}; pip install 'wsdaemon[auth]'"]


HEAVY = ("cryptography", "jwt", "bcrypt", "argon2", "h11")


def test_no_library_is_loaded_for_nothing() -> None:
    code = "import sys, wsdaemon.edge.origins, wsdaemon.edge.auth.make, wsdaemon.edge.auth.ticket, wsdaemon.edge.auth.expiry\n"
    code += f"print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_one_that_does_not_stop_hinders_no_other() -> None:
    class Way:
        challenge = None
        subprotocol_prefixes = ()
        files = ()

        def __init__(self, name: str) -> None:
            self.name = name
            self.closed = False

        def authenticate(self, request: object) -> None: ...

        def refresh(self) -> None: ...

        async def close(self) -> None:
            self.closed = True
            if self.name == "first":
                raise RuntimeError("broken")

    ways = [Way("first"), Way("second")]
    with logged() as lines:
        run(Authenticators(ways).stop())
    assert all(way.closed for way in ways)
    assert len(lines) == 1 and "[auth:first] did not stop cleanly" in lines[0]
