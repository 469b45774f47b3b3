"""edge/auth/basic.py: users and passwords."""

from __future__ import annotations

import asyncio
import base64
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.auth import Clock, compared, denied, logged, outcome, request, run, settings_with, write
from tests.support.passwords import ADA, BOB, by_bcrypt
from wsdaemon.edge.auth import basic
from wsdaemon.edge.auth.basic import BasicAuthenticator
from wsdaemon.edge.auth.contract import Candidate, Denied, Identity
from wsdaemon.edge.auth.htpasswd import read_users, verify

EVE = by_bcrypt("hunter2").replace("$2b$", "$2y$")
FILE = f"# people\n\nada:{ADA}\nbob:{BOB}\r\n  eve:{EVE}\nzoë:{by_bcrypt('pässword')}\n"


def login(user: str, password: str, scheme: str = "Basic") -> Candidate:
    return request(f"Authorization: {scheme} {base64.b64encode(f'{user}:{password}'.encode()).decode()}")


def way(directory: Path, clock: Callable[[], float] | None = None, **keys: Any) -> BasicAuthenticator:
    write(directory / "htpasswd", FILE)
    return BasicAuthenticator(settings_with("basic", directory, file="htpasswd", **keys), clock or Clock())


def ask(authenticator: BasicAuthenticator, asked: Candidate) -> Identity | None:
    async def both() -> Identity | None:
        try:
            return await outcome(authenticator.authenticate(asked))
        finally:
            await authenticator.close()

    return run(both())


@pytest.mark.parametrize(
    ("user", "password"), [("ada", "hunter2"), ("bob", "correct horse: staple"), ("eve", "hunter2"), ("zoë", "pässword")]
)
def test_a_right_password(tmp_path: Path, user: str, password: str) -> None:
    assert ask(way(tmp_path), login(user, password)) == Identity(user, "basic:way")
    assert ask(way(tmp_path), login(user, password, "bASIC")) == Identity(user, "basic:way")


@pytest.mark.parametrize(("user", "password"), [("ada", "hunter3"), ("ada", ""), ("Ada", "hunter2"), ("nobody", "hunter2"), ("bob", "x")])
def test_a_wrong_password_and_a_wrong_user_are_refused_alike(tmp_path: Path, user: str, password: str) -> None:
    error = denied(lambda: way(tmp_path).authenticate(login(user, password)))
    assert (error.status, error.reason, error.detail) == (401, "auth_refused", "The user or the password is wrong.")


def test_no_credentials_are_not_ours(tmp_path: Path) -> None:
    assert way(tmp_path).authenticate(request()) is None
    assert way(tmp_path).authenticate(request("Authorization: Bearer abc")) is None


def encoded(raw: bytes) -> str:
    return "Basic " + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "value",
    [
        "Basic", "Basic ", "Basic !!!", "Basic YWRh\xe9", encoded(b"ada"), encoded(b":hunter2"), encoded(b"\xff:x"), encoded(b"ada:a\nb"),
        encoded(b"ada:a\0b"), encoded(b"a\x1bda:x"), encoded(b"ada:" + b"x" * 1025), "Basic YWRhOmh1bnRlcjI extra",
    ],
)  # fmt: skip
def test_malformed(tmp_path: Path, value: str) -> None:
    assert denied(lambda: way(tmp_path).authenticate(request(f"Authorization: {value}"))).reason == "auth_malformed"


def test_two_headers(tmp_path: Path) -> None:
    line = "Authorization: " + encoded(b"ada:hunter2")
    assert denied(lambda: way(tmp_path).authenticate(request(line, line))).reason == "auth_malformed"


def test_the_challenge(tmp_path: Path) -> None:
    assert way(tmp_path, realm="My site").challenge == 'Basic realm="My site", charset="UTF-8"'


def test_what_passes_is_remembered_for_a_while_and_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons, hashed = compared(monkeypatch), watch(monkeypatch)
    clock = Clock()
    authenticator = way(tmp_path, clock, remember="1m")

    async def visits() -> None:
        assert await outcome(authenticator.authenticate(login("ada", "hunter2"))) is not None
        assert (len(hashed), len(comparisons)) == (1, 0)
        again = authenticator.authenticate(login("ada", "hunter2"))
        assert isinstance(again, Identity)
        assert (len(hashed), len(comparisons)) == (1, 1)
        with pytest.raises(Denied):
            await outcome(authenticator.authenticate(login("ada", "wrong")))
        assert (len(hashed), len(comparisons)) == (2, 2)
        clock.now += 60
        assert_is_hashed(authenticator.authenticate(login("ada", "hunter2")))
        await authenticator.close()

    run(visits())


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes that are checked from now on."""
    hashed: list[str] = []

    def check(stored: str, password: bytes) -> bool:
        hashed.append(stored)
        return verify(stored, password)

    monkeypatch.setattr(basic, "verify", check)
    return hashed


def assert_is_hashed(found: object) -> None:
    assert inspect.iscoroutine(found)
    found.close()


def test_nothing_is_remembered_when_not_asked(tmp_path: Path) -> None:
    authenticator = way(tmp_path, remember=0)
    ask(authenticator, login("ada", "hunter2"))
    assert_is_hashed(authenticator.authenticate(login("ada", "hunter2")))


def test_a_new_password_counts_at_once(tmp_path: Path) -> None:
    authenticator = way(tmp_path)

    async def visits() -> None:
        assert await outcome(authenticator.authenticate(login("ada", "hunter2"))) is not None
        write(tmp_path / "htpasswd", f"ada:{by_bcrypt('new one')}\n")
        authenticator.refresh()
        with pytest.raises(Denied):
            await outcome(authenticator.authenticate(login("ada", "hunter2")))
        assert await outcome(authenticator.authenticate(login("ada", "new one"))) is not None
        await authenticator.close()

    run(visits())


def test_only_so_many_users_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "MAX_REMEMBERED_USERS", 1)
    authenticator = way(tmp_path)

    async def visits() -> None:
        for user in ("ada", "eve"):
            await outcome(authenticator.authenticate(login(user, "hunter2")))
        assert isinstance(authenticator.authenticate(login("eve", "hunter2")), Identity)
        first = authenticator.authenticate(login("ada", "hunter2"))
        assert not isinstance(first, Identity)
        await outcome(first)
        await authenticator.close()

    run(visits())


def test_an_unknown_user_costs_a_hash_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = watch(monkeypatch)
    for user in ("ada", "nobody", "somebody"):
        denied(lambda user=user: way(tmp_path).authenticate(login(user, "wrong")))  # type: ignore[misc]
    assert hashed[0] == ADA
    assert len(hashed) == 3 and set(hashed) <= set(read_users(FILE.encode()).hashes.values())


def test_the_hash_that_stands_in_lets_nobody_in(tmp_path: Path) -> None:
    # The file has one user, so an unknown one is checked against that one's hash, with its right password.
    authenticator = way(tmp_path)
    write(tmp_path / "htpasswd", f"ada:{ADA}\n")
    authenticator.refresh()
    assert denied(lambda: authenticator.authenticate(login("nobody", "hunter2"))).reason == "auth_refused"


def test_a_file_without_users(tmp_path: Path) -> None:
    authenticator = way(tmp_path)
    write(tmp_path / "htpasswd", "")
    authenticator.refresh()
    assert denied(lambda: authenticator.authenticate(login("ada", "hunter2"))).reason == "auth_refused"


class Threads:
    """Stands for the hashing: each check waits until the test lets it go."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.count = 0

    def __call__(self, stored: str, password: bytes) -> bool:
        self.count += 1
        assert self.go.acquire(timeout=20)
        return True


def test_as_many_wait_as_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads()
    monkeypatch.setattr(basic, "verify", threads)
    authenticator = way(tmp_path, threads=1, max_waiting=1)

    async def visits() -> None:
        tasks = [asyncio.ensure_future(outcome(authenticator.authenticate(login(user, "x")))) for user in ("ada", "bob", "eve")]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        error = tasks[2].exception()
        assert isinstance(error, Denied) and (error.status, error.reason) == (503, "auth_busy")
        assert dict(error.headers) == {"Retry-After": "5"}
        threads.go.release(2)
        assert [identity.name for identity in await asyncio.gather(*tasks[:2]) if identity] == ["ada", "bob"]
        threads.go.release()
        assert await outcome(authenticator.authenticate(login("eve", "x"))) is not None
        await authenticator.close()

    run(visits())


def test_the_same_password_is_hashed_once_for_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads()
    monkeypatch.setattr(basic, "verify", threads)
    authenticator = way(tmp_path, threads=1, max_waiting=0)

    async def visits() -> None:
        tasks = [asyncio.ensure_future(outcome(authenticator.authenticate(login("ada", "x")))) for _ in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # the client that began it disconnects; the others get their answer
        threads.go.release()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert found[1:] == [Identity("ada", "basic:way")] * 9
        assert threads.count == 1
        await authenticator.close()

    run(visits())


def test_no_secret_is_shown_or_logged(tmp_path: Path) -> None:
    with logged() as lines:
        authenticator = way(tmp_path)
        ask(authenticator, login("ada", "hunter2"))
        error = denied(lambda: way(tmp_path).authenticate(login("ada", "sesame99")))
        write(tmp_path / "htpasswd", "ada:sesame99\n")
        authenticator.refresh()
    shown = " ".join([*lines, repr(error), str(error), repr(authenticator), repr(read_users(FILE.encode())), repr(vars(authenticator))])
    assert "line 1: expected a hash by bcrypt or argon2" in shown
    for secret in ("hunter2", "sesame99", ADA, BOB, ADA[30:]):
        assert secret not in shown


def test_a_bad_line_is_left_out_with_a_warning_that_shows_nothing_of_it(tmp_path: Path) -> None:
    write(tmp_path / "htpasswd", f"ada:{ADA}\nbob:hunter2\n\ufeffeve:{EVE}\r\nada:{BOB}\r\neve:{EVE}\r\n")
    with logged() as lines:
        authenticator = BasicAuthenticator(settings_with("basic", tmp_path, file="htpasswd"), Clock())
    assert ask(authenticator, login("eve", "hunter2")) == Identity("eve", "basic:way")
    assert ask(authenticator, login("ada", "hunter2")) == Identity("ada", "basic:way"), "the first of two lines counts"
    for user in ("bob", "\ufeffeve", "eve\r"):
        assert denied(lambda user=user: authenticator.authenticate(login(user, "hunter2"))).status == 401  # type: ignore[misc]
    assert [line.partition("/htpasswd: ")[2].partition(" {")[0] for line in lines] == [
        "line 2: expected a hash by bcrypt or argon2; htpasswd -B makes such lines; the line is left out",
        "line 3: a byte order mark stands before the user; the line is left out",
        "line 4: this user is there twice; the line is left out",
    ]
    assert "hunter2" not in " ".join(lines)


def test_a_file_with_many_bad_lines_writes_few_warnings(tmp_path: Path) -> None:
    write(tmp_path / "htpasswd", f"ada:{ADA}\n" + "bob:x\n" * 1000)
    with logged() as lines:
        BasicAuthenticator(settings_with("basic", tmp_path, file="htpasswd"), Clock())
    assert len(lines) == 21 and "980 more parts of the file are left out" in lines[-1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> BasicAuthenticator:
    return way(tmp_path_factory.mktemp("auth"))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255, blacklist_characters="\x7f\x85"), max_size=60))
def test_any_header_is_passed_on_checked_or_refused(shared: BasicAuthenticator, value: str) -> None:
    with suppress(Denied):
        found = shared.authenticate(request(f"Authorization: {value}"))
        if found is not None:
            assert_is_hashed(found)
