"""Shared by the tests of authentication: requests, clocks, keys, and a log that can be searched for secrets."""

from __future__ import annotations

import asyncio
import hmac
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.logger import formatEvent

from tests.support.logs import lines_meanwhile
from wsdaemon.core.handshake import ClientCertificate, Peer
from wsdaemon.edge.auth.contract import Candidate, Denied, Identity
from wsdaemon.edge.request import parse_head
from wsdaemon.settings.build import build, section
from wsdaemon.settings.model import Settings

T = TypeVar("T")

NOW = 1_800_000_000.0


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def request(
    *lines: str,
    target: str = "/chat",
    subprotocols: tuple[str, ...] = (),
    secure: bool = False,
    certificate: ClientCertificate | None = None,
    peer: Peer = Peer("192.0.2.1", 5000),  # noqa: B008 - it is frozen
    address: str | None = None,
) -> Candidate:
    """A request with these header lines."""
    text = "\r\n".join([f"GET {target} HTTP/1.1", "Host: ws.example.com", *lines, "", ""])
    candidate = Candidate(parse_head(text.encode("latin-1")), peer, Peer("192.0.2.9", 443), secure, address)
    candidate.subprotocols, candidate.client_certificate = subprotocols, certificate
    return candidate


def settings_with(kind: str, directory: Path | None = None, **keys: Any) -> Any:
    """The settings of one [auth:way]."""
    return settings_of(kind, directory, **keys).auths[0]


def settings_of(kind: str, directory: Path | None = None, **keys: Any) -> Settings:
    return build(
        [section("listener:a", address="tcp:0"), section("mount:/", app="echo", auth="way"), section("auth:way", kind=kind, **keys)],
        "ws.ini",
        directory,
    )


def run(awaitable: Awaitable[T]) -> T:
    """The result of an awaitable, on a loop of its own."""

    async def wait() -> T:
        return await asyncio.wait_for(awaitable, 30)

    return asyncio.run(wait())


async def outcome(found: Any) -> Identity | None:
    """The result of an authenticator, at once or later."""
    result = await found if inspect.isawaitable(found) else found
    assert result is None or isinstance(result, Identity)
    return result


def denied(action: Callable[[], Any]) -> Denied:
    """How `action` was refused, at once or when awaited."""

    async def wait() -> None:
        await outcome(action())

    with pytest.raises(Denied) as caught:
        run(wait())
    return caught.value


def logged() -> AbstractContextManager[list[str]]:
    """The lines that are logged meanwhile, each with everything that its event carries."""
    return lines_meanwhile(lambda event: f"{formatEvent(event)} {event!r}")


def compared(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The left sides of all comparisons in constant time from now on."""
    seen: list[object] = []
    real = hmac.compare_digest

    def compare(one: Any, two: Any) -> bool:
        seen.append(one)
        return real(one, two)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return seen


# -- keys, made once


RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """A file that looks changed even when it is written twice within the resolution of its times: it is a new one each time."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    fresh.chmod(mode)
    return fresh.replace(path)
