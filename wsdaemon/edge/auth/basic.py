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
from dataclasses import dataclass, field

from ...core.limits import Key
from ...settings.auth import BasicAuthSettings
from ...settings.form import has_control_characters
from .contract import Candidate, Denied, Identity, Outcome, Unavailable
from .files import WatchedFile
from .guesses import Guesses
from .htpasswd import MAX_FILE_BYTES, Users, read_users, verify
from .sources import authorization, malformed

MAX_PASSWORD_BYTES = 1024

MAX_REMEMBERED_USERS = 10_000
"""Users whose last right password is remembered."""

MIN_ADDRESSES = 8
"""Addresses that it takes to hold all places."""


class BasicAuthenticator:
    """Hashes passwords in a few threads, with a bound on how many may wait for one.

    A right password is remembered for a while, by a keyed hash over user, stored hash and password: clients that reconnect together would
    otherwise queue for minutes. A changed line in the file makes its user's entry useless at once. The same password of the same user is
    hashed once for all clients that wait for it.

    An unknown user costs as much as a wrong password: the password is checked against a hash of the file, and the result dropped.

    `guesses` limits the wrong passwords of each user and address, and the share of the places that one address may have.
    """

    subprotocol_prefixes = ()

    def __init__(self, settings: BasicAuthSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """FileError if the file cannot be used. No thread is started yet."""
        self.name = settings.name
        self.challenge = f'Basic realm="{settings.realm}", charset="UTF-8"'
        self._clock = clock
        self._file: WatchedFile[Users] = WatchedFile(
            settings.file,
            read_users,
            largest=MAX_FILE_BYTES,
            source=f"[auth:{settings.name}] file",
            warnings=lambda users: users.warnings,
            clock=clock,
        )
        self.files = (self._file,)
        self._remember = settings.remember
        self._threads = settings.threads
        places = settings.threads + settings.max_waiting
        self._room = threading.BoundedSemaphore(places)
        self._guesses = Guesses(settings.failures_per_minute, max(1, places // MIN_ADDRESSES), clock, settings.address_failures_per_minute)
        self._pool: ThreadPoolExecutor | None = None
        self._key = os.urandom(32)
        self._right: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[bool]] = {}

    def authenticate(self, request: Candidate) -> Outcome:
        found = authorization(request, "basic")
        if not found:
            return None
        user, password = _credentials(found[0])
        if request.address is not None:
            # Before anything is compared: a client without a guess left must not guess at remembered passwords and those under way either.
            self._guesses.check(request.address, user)
        users = self._file.get()
        stored = users.hashes.get(user)
        digest = self._digest(user, stored or "", password)
        if stored is not None and self._is_right(user, digest):
            return self._identity(user)
        known = stored is not None
        if stored is None:
            stored = users.stand_in(int.from_bytes(self._digest(user, "", b"")[:8], "big"))
        return self._check(_Guess(user, stored, password, digest, known, request.address))

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
        # Only the last part can hold a NUL, so no two different triples are joined to the same bytes.
        return hmac.digest(self._key, b"\0".join([user.encode(), stored.encode(), password]), "sha256")

    def _is_right(self, user: str, digest: bytes) -> bool:
        """Whether this very password was right a short time ago."""
        entry = self._right.get(user)
        return entry is not None and self._clock() < entry[1] and hmac.compare_digest(entry[0], digest)

    async def _check(self, guess: _Guess) -> Identity:
        # A client that joins others learns no more than they do, and takes no place, so it makes no guess of its own.
        running = self._running.get(guess.digest) or self._start(guess)
        # Shielded: other clients may wait for the same check, and a thread that has begun cannot be stopped.
        matched = await asyncio.shield(running)
        if not (matched and guess.known):
            raise Denied("auth_refused", detail="The user or the password is wrong.", user=guess.user)
        if self._remember:
            self._right[guess.user] = (guess.digest, self._clock() + self._remember)
            self._right.move_to_end(guess.user)
            while len(self._right) > MAX_REMEMBERED_USERS:
                self._right.popitem(last=False)
        return self._identity(guess.user)

    def _start(self, guess: _Guess) -> asyncio.Future[bool]:
        if guess.address is not None:
            self._guesses.check(guess.address, guess.user)  # again: other checks may have begun before this coroutine's first step
        if not self._room.acquire(blocking=False):
            raise Unavailable("auth_busy", "Too many clients are being checked at this moment.")
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix=f"auth-{self.name}")
        try:
            running = asyncio.get_running_loop().run_in_executor(self._pool, self._verify, guess.stored, guess.password)
        except BaseException:
            self._room.release()
            raise
        self._running[guess.digest] = running
        if guess.address is not None:
            self._guesses.begin(guess.address, guess.user)
        running.add_done_callback(lambda done: self._done(guess, done))
        return running

    def _verify(self, stored: str, password: bytes) -> bool:
        """In a thread."""
        try:
            return verify(stored, password)
        finally:
            self._room.release()

    def _done(self, guess: _Guess, done: asyncio.Future[bool]) -> None:
        """The check has ended, even if all its clients are gone: a client cannot take its guess back."""
        self._running.pop(guess.digest, None)
        # If no client waits any more, the loop would log an exception that was never looked at.
        finished = not done.cancelled() and done.exception() is None
        if guess.address is not None:
            self._guesses.end(guess.address, guess.user, wrong=finished and not (done.result() and guess.known))


@dataclass(frozen=True, slots=True)
class _Guess:
    """A password that is being hashed."""

    user: str
    stored: str = field(repr=False)
    password: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    known: bool
    """Whether there is such a user."""
    address: Key | None
    """The key that the client's address is counted under; None: it is not counted."""


def _credentials(encoded: str) -> tuple[str, bytes]:
    """User and password (RFC 7617 2): base64 of UTF-8 text with a colon between them, without control characters. Denied otherwise."""
    try:
        text = base64.b64decode(encoded.encode("ascii"), validate=True).decode("utf-8")
    except (UnicodeError, binascii.Error):
        raise malformed("The Basic credentials are not base64 of UTF-8 text.") from None
    user, colon, password = text.partition(":")
    secret = password.encode()
    if not colon or not user or has_control_characters(text) or len(secret) > MAX_PASSWORD_BYTES:
        raise malformed("The Basic credentials are not a user and a password.")
    return user, secret
