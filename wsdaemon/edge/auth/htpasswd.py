"""The htpasswd file: users and the hashes of their passwords, by bcrypt or argon2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import argon2
import bcrypt

from .files import FileError
from .identity import clean_name

LARGEST_FILE = 16 * 1024 * 1024

BCRYPT_PASSWORD = 72
"""Bytes of a password that bcrypt looks at; htpasswd cuts there too."""

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_STAND_IN = "$2b$12$g6aXC9XiPOPjFqHpu1PaJOf2YUA0stFDMOqvKN5Q/rjn/3emxl0Ze"
"""What a password is checked against where a file has no users: a hash of random bytes that nobody kept."""

_hasher = argon2.PasswordHasher()


@dataclass(frozen=True, slots=True)
class Users:
    """The users of one file. Its repr shows no hash."""

    hashes: Mapping[str, str] = field(repr=False)
    _all: tuple[str, ...] = field(repr=False)

    def stand_in(self, number: int) -> str:
        """A hash for a user that is not there, so that refusing one takes as long as refusing another: that of some user, by `number`."""
        return self._all[number % len(self._all)] if self._all else _STAND_IN


def read_users(content: bytes) -> Users:
    """The users of a file's content. FileError names the first line that is wrong, and never what stands in it."""
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise FileError("expected text in UTF-8") from None
    hashes: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip(" \t\r")
        if not text or text.startswith("#"):
            continue
        user, colon, stored = text.partition(":")
        if not colon or clean_name(user) is None:
            raise FileError(f"line {number}: expected user:hash")
        if not _is_hash(stored):
            raise FileError(f"line {number}: expected a hash by bcrypt or argon2; htpasswd -B makes such lines")
        if user in hashes:
            raise FileError(f"line {number}: this user is there twice")
        hashes[user] = stored
    return Users(hashes, tuple(hashes.values()))


def _is_hash(stored: str) -> bool:
    found = _BCRYPT.fullmatch(stored)
    if found is not None:
        return 4 <= int(found[1]) <= 31
    if not stored.startswith("$argon2"):
        return False
    try:
        argon2.extract_parameters(stored)
    except (argon2.exceptions.InvalidHashError, ValueError):
        return False
    return True


def verify(stored: str, password: bytes) -> bool:
    """Whether `password` is the one behind the hash `stored`. Slow by design; the libraries compare in constant time."""
    try:
        if stored.startswith("$2"):
            return bcrypt.checkpw(password[:BCRYPT_PASSWORD], stored.encode("ascii"))
        return _hasher.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, ValueError):
        return False
