"""The htpasswd file: users and the hashes of their passwords, by bcrypt or argon2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import argon2
import bcrypt

from .files import FileError
from .identity import clean_name

MAX_FILE_BYTES = 16 * 1024 * 1024

BCRYPT_PASSWORD_BYTES = 72
"""Bytes of a password that bcrypt looks at; htpasswd cuts there too."""

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
_STAND_IN = "$2b$12$g6aXC9XiPOPjFqHpu1PaJOf2YUA0stFDMOqvKN5Q/rjn/3emxl0Ze"
"""Passwords are checked against this where a file has no users: the hash of random bytes that were thrown away."""

_hasher = argon2.PasswordHasher()


@dataclass(frozen=True, slots=True)
class Users:
    """The users of one file. Its repr shows no hash."""

    hashes: Mapping[str, str] = field(repr=False)
    warnings: tuple[str, ...] = ()
    """A phrase for each line that was left out, with the line's number and nothing of its content."""
    _all: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_all", tuple(self.hashes.values()))

    def stand_in(self, number: int) -> str:
        """The hash of some user, chosen by `number`: refusing an unknown user then takes as long as refusing a known one."""
        return self._all[number % len(self._all)] if self._all else _STAND_IN


def read_users(content: bytes) -> Users:
    """The users of a file's content. A line that cannot be used is left out, with a warning.

    If a name stands twice, the first line counts, as it does for Apache. FileError for a file without a usable line, unless it is empty,
    and for one that is not UTF-8.
    """
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise FileError("expected text in UTF-8") from None
    hashes: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        text = line.strip(" \t\r")
        if text and not text.startswith("#"):
            user, _, stored = text.partition(":")
            problem = _problem(user, stored, hashes)
            if problem is None:
                hashes[user] = stored
            else:
                problems.append(f"line {number}: {problem}")
    if problems and not hashes:
        raise FileError(problems[0])
    return Users(hashes, tuple(f"{problem}; the line is left out" for problem in problems))


def _problem(user: str, stored: str, known: Mapping[str, str]) -> str | None:
    if "\ufeff" in user:
        return "a byte order mark stands before the user"
    if not stored or clean_name(user) is None:
        return "expected user:hash"
    if not _is_hash(stored):
        return "expected a hash by bcrypt or argon2; htpasswd -B makes such lines"
    return "this user is there twice" if user in known else None


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
            return bcrypt.checkpw(password[:BCRYPT_PASSWORD_BYTES], stored.encode("ascii"))
        return _hasher.verify(stored, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError, ValueError):
        return False
