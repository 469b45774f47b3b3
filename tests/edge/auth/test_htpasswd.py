"""edge/auth/htpasswd.py: the file of users, and its hashes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.passwords import ADA, BOB, by_bcrypt
from wsdaemon.edge.auth.files import FileError
from wsdaemon.edge.auth.htpasswd import Users, read_users, verify


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ada\n", "line 1: expected user:hash"),
        (f"\n# x\n:{ADA}\n".encode(), "line 3: expected user:hash"),
        (f"a\x1bda:{ADA}\n".encode(), "line 1: expected user:hash"),
        (b"ada:hunter2\n", "line 1: expected a hash by bcrypt or argon2; htpasswd -B makes such lines"),
        (b"ada:$apr1$lZL6V/ci$eIMz/iKDkbtys/uU7LEK00\n", "line 1: expected a hash by bcrypt"),
        (b"ada:{SHA}VBPuJHI7uixaa6LQGWx4s+5GKNE=\n", "line 1: expected a hash by bcrypt"),
        (b"ada:$argon2id$v=19$m=1$x\n", "line 1: expected a hash by bcrypt"),
        (f"ada:{ADA}x\n".encode(), "line 1: expected a hash by bcrypt"),
        (f"ada:{ADA.replace('$04$', '$32$')}\n".encode(), "line 1: expected a hash by bcrypt"),
        (f"\ufeffada:{ADA}\n".encode(), "line 1: a byte order mark stands before the user"),
        (b"\xff\xfe", "expected text in UTF-8"),
    ],
)
def test_a_bad_file(content: bytes, message: str) -> None:
    with pytest.raises(FileError) as caught:
        read_users(content)
    assert str(caught.value).startswith(message)
    assert "hunter2" not in str(caught.value)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_file_is_read_or_refused(content: bytes) -> None:
    with suppress(FileError):
        assert isinstance(read_users(content), Users)


def test_bcrypt_looks_at_72_bytes_as_htpasswd_does() -> None:
    stored = by_bcrypt("x" * 72)
    assert verify(stored, b"x" * 100)
    assert not verify(stored, b"x" * 71)


@given(st.binary(max_size=100))
def test_no_password_breaks_a_hash(password: bytes) -> None:
    assert verify(ADA, password) is (password == b"hunter2")
    assert verify(BOB, password) is (password == b"correct horse: staple")
