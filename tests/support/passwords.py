"""Hashes of passwords, cheap to check."""

from __future__ import annotations

import argon2
import bcrypt

HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def by_bcrypt(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


ADA = by_bcrypt("hunter2")
BOB = HASHER.hash("correct horse: staple")
