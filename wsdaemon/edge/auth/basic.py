"""The kind basic: user and password in the Authorization header (RFC 7617), checked against an htpasswd file."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ...settings.auth import BasicAuthSettings
from ...settings.form import has_control_characters
from .contract import AuthRequest, Denied, Identity, Outcome, Unavailable
from .files import WatchedFile
from .htpasswd import LARGEST_FILE, Users, read_users, verify
from .sources import authorization, malformed

LONGEST_PASSWORD = 1024
"""Bytes."""

MOST_REMEMBERED = 10_000
"""Users whose last right password is remembered."""


class BasicAuthenticator:
    """Hashes passwords in a few threads, with a bound on how many may wait for one.

    A password that was right is remembered for a while, by a keyed hash over user, stored hash and password: clients that come back
    together would otherwise queue for minutes. A changed line in the file makes its user's entry useless at once. The same password of the
    same user is hashed once for all who wait for it.

    An unknown user costs what a wrong password costs: it is hashed against a hash of the file, and the result dropped.
    """

    subprotocol_prefixes = ()

    def __init__(self, settings: BasicAuthSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """FileError when the file cannot be used. No thread is started yet."""
        assert settings.file is not None
        self.name = settings.name
        self.challenge = f'Basic realm="{settings.realm}", charset="UTF-8"'
        self._clock = clock
        self._file: WatchedFile[Users] = WatchedFile(settings.file, read_users, largest=LARGEST_FILE, clock=clock)
        self._remember = settings.remember
        self._threads = settings.threads
        self._room = threading.BoundedSemaphore(settings.threads + settings.max_waiting)
        self._pool: ThreadPoolExecutor | None = None
        self._key = os.urandom(32)
        self._right: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[bool]] = {}

    def authenticate(self, request: AuthRequest) -> Outcome:
        found = authorization(request, "basic")
        if not found:
            return None
        user, password = _credentials(found[0])
        users = self._file.get()
        stored = users.hashes.get(user)
        digest = self._digest(user, stored or "", password)
        if stored is not None and self._is_right(user, digest):
            return self._identity(user)
        if stored is None:
            stored = users.stand_in(int.from_bytes(self._digest(user, "", b"")[:8], "big"))
            return self._check(user, stored, password, digest, known=False)
        return self._check(user, stored, password, digest, known=True)

    def refresh(self) -> None:
        self._file.refresh()

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._right.clear()

    def _identity(self, user: str) -> Identity:
        return Identity(user, f"basic:{self.name}")

    def _digest(self, user: str, stored: str, password: bytes) -> bytes:
        # None of the parts but the last can hold a NUL, so no two of them read alike.
        return hmac.digest(self._key, b"\0".join([user.encode(), stored.encode(), password]), "sha256")

    def _is_right(self, user: str, digest: bytes) -> bool:
        """Whether this very password was right a short time ago."""
        entry = self._right.get(user)
        return entry is not None and self._clock() < entry[1] and hmac.compare_digest(entry[0], digest)

    async def _check(self, user: str, stored: str, password: bytes, digest: bytes, known: bool) -> Identity:
        running = self._running.get(digest)
        if running is None:
            running = self._start(stored, password, digest)
        # Shielded: others may wait for the same, and a thread that has begun cannot be called back anyhow.
        matched = await asyncio.shield(running)
        if not (matched and known):
            raise Denied("auth_refused", detail="The user or the password is wrong.")
        if self._remember:
            self._right[user] = (digest, self._clock() + self._remember)
            self._right.move_to_end(user)
            while len(self._right) > MOST_REMEMBERED:
                self._right.popitem(last=False)
        return self._identity(user)

    def _start(self, stored: str, password: bytes, digest: bytes) -> asyncio.Future[bool]:
        if not self._room.acquire(blocking=False):
            raise Unavailable("auth_busy", "Too many clients are being checked at this moment.")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=f"auth-{self.name}")
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._verify, stored, password)
        except BaseException:
            self._room.release()
            raise
        self._running[digest] = running
        running.add_done_callback(lambda done: self._done(digest, done))
        return running

    def _verify(self, stored: str, password: bytes) -> bool:
        """In a thread."""
        try:
            return verify(stored, password)
        finally:
            self._room.release()

    def _done(self, digest: bytes, done: asyncio.Future[bool]) -> None:
        self._running.pop(digest, None)
        if not done.cancelled():
            done.exception()  # those who wait get it; without this, an error that nobody waits for any more is logged by the loop


def _credentials(encoded: str) -> tuple[str, bytes]:
    """User and password (RFC 7617 2): base64 of UTF-8 text with a colon between them, without control characters. Denied otherwise."""
    try:
        text = base64.b64decode(encoded.encode("ascii"), validate=True).decode("utf-8")
    except (UnicodeError, binascii.Error):
        raise malformed("The Basic credentials are not base64 of UTF-8 text.") from None
    user, colon, password = text.partition(":")
    secret = password.encode()
    if not colon or not user or has_control_characters(text) or len(secret) > LONGEST_PASSWORD:
        raise malformed("The Basic credentials are not a user and a password.")
    return user, secret
