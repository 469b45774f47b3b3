"""edge/auth/guesses.py, and its use by basic: no address guesses passwords for long, or takes all the hashing."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.auth import Clock, outcome, request, run, settings_with, write
from wsdaemon.edge.auth import basic
from wsdaemon.edge.auth.basic import MIN_ADDRESSES, BasicAuthenticator
from wsdaemon.edge.auth.contract import Candidate, Denied
from wsdaemon.edge.auth.guesses import Guesses, _pair

ADDRESS = "192.0.2.1"


def refusal(guesses: Guesses, address: str = ADDRESS, user: str = "ada") -> tuple[str, str] | None:
    """Reason and Retry-After, or None."""
    try:
        guesses.check(address, user)
    except Denied as error:
        return error.reason, dict(error.headers)["Retry-After"]
    return None


def wrong(guesses: Guesses, address: str = ADDRESS, user: str = "ada") -> None:
    assert refusal(guesses, address, user) is None
    guesses.begin(address, user)
    guesses.end(address, user, wrong=True)


# -- the table


def test_so_many_wrong_passwords_a_minute() -> None:
    clock = Clock(1000.0)
    guesses = Guesses(10, 100, clock)
    for _ in range(10):
        wrong(guesses)
    assert refusal(guesses) == ("auth_failures", "6")
    assert refusal(guesses, "192.0.2.2") is None
    clock.now += 6
    wrong(guesses)
    assert refusal(guesses) == ("auth_failures", "6")
    clock.now += 60
    for _ in range(10):
        wrong(guesses)
    assert refusal(guesses) is not None


def test_right_ones_are_not_counted() -> None:
    guesses = Guesses(1, 100, Clock())
    for _ in range(20):
        assert refusal(guesses) is None
        guesses.begin(ADDRESS, "ada")
        guesses.end(ADDRESS, "ada", wrong=False)
    wrong(guesses)
    assert refusal(guesses) == ("auth_failures", "60")


def test_guesses_side_by_side_are_no_more_than_in_a_row() -> None:
    guesses = Guesses(3, 100, Clock(1000.0))
    for _ in range(3):
        assert refusal(guesses) is None
        guesses.begin(ADDRESS, "ada")
    assert refusal(guesses) == ("auth_address_busy", "1")
    guesses.end(ADDRESS, "ada", wrong=False)
    assert refusal(guesses) is None
    guesses.end(ADDRESS, "ada", wrong=True)
    guesses.end(ADDRESS, "ada", wrong=True)
    wrong(guesses)
    assert refusal(guesses) == ("auth_failures", "20")


def test_without_a_limit_on_failures_there_is_the_one_on_what_is_under_way() -> None:
    guesses = Guesses(0, 2)
    for _ in range(2):
        guesses.begin(ADDRESS, "ada")
    assert refusal(guesses) == ("auth_address_busy", "1")
    assert refusal(guesses, "192.0.2.2") is None
    guesses.end(ADDRESS, "ada", wrong=True)
    for _ in range(100):
        wrong(guesses)


def test_a_user_who_guesses_does_not_lock_out_others_of_the_address() -> None:
    clock = Clock(1000.0)
    guesses = Guesses(10, 100, clock, 60)
    for _ in range(10):
        wrong(guesses)
    assert refusal(guesses) == ("auth_failures", "6")
    assert refusal(guesses, user="bob") is None
    assert refusal(guesses, "192.0.2.2") is None


def test_all_users_of_an_address_have_a_bound_together() -> None:
    clock = Clock(1000.0)
    guesses = Guesses(10, 100, clock, 60)
    for number in range(60):
        wrong(guesses, user=f"user {number}")
    assert refusal(guesses, user="another") == ("auth_failures", "1")
    assert refusal(guesses, "192.0.2.2", "another") is None
    clock.now += 1
    wrong(guesses, user="another")
    assert refusal(guesses, user="one more") == ("auth_failures", "1")


def test_guesses_at_many_users_side_by_side_are_no_more_than_the_addresss() -> None:
    guesses = Guesses(10, 100, Clock(1000.0), 5)
    for number in range(5):
        assert refusal(guesses, user=f"user {number}") is None
        guesses.begin(ADDRESS, f"user {number}")
    assert refusal(guesses, user="another") == ("auth_address_busy", "1")


def test_no_two_pairs_of_address_and_user_are_one() -> None:
    assert len({_pair(address, user) for address, user in (("1", "11"), ("11", "1"), (b"1:1", "1"), ("", "1:11"))}) == 4


def test_ever_new_addresses_do_not_fill_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    guesses = Guesses(10, 2, Clock(), 60)
    for failures in (guesses._pairs, guesses._addresses):
        assert failures._rate is not None
        monkeypatch.setattr(failures._rate, "_half", 50)
    for number in range(1000):
        wrong(guesses, f"address {number}", "u" * 5000)
    for failures in (guesses._pairs, guesses._addresses):
        assert failures._rate is not None and len(failures._rate) <= 100
    assert len(guesses._running) == len(guesses._running_pairs) == 0


STEP = 10.0
"""Seconds in which a failure is forgotten at six a minute."""


class Model:
    """The same the naive way: all that has happened is kept, and gone through each time."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.failures: list[tuple[str, float]] = []
        self.running: Counter[str] = Counter()

    def left(self, address: str, now: float) -> float:
        left, since = 6.0, 0.0
        for at in [at for who, at in self.failures if who == address]:
            left, since = min(6.0, left + (at - since) / STEP) - 1, at
        return min(6.0, left + (now - since) / STEP)

    def refusal(self, address: str, now: float) -> str | None:
        left = self.left(address, now)
        if left < 1:
            return "auth_failures"
        return "auth_address_busy" if self.running[address] >= min(self.at_once, int(left)) else None


events = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from("abc")),
    st.tuples(st.sampled_from(["wrong", "right"]), st.sampled_from("abc")),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 5.0, 10.0, 15.0, 60.0])),
)


@given(st.integers(1, 8), st.lists(events, max_size=60))
def test_the_table_does_what_a_naive_one_does(at_once: int, happening: list[tuple[str, Any]]) -> None:
    clock = Clock(1000.0)
    guesses, model = Guesses(6, at_once, clock), Model(at_once)
    for what, which in happening:
        if what == "wait":
            clock.now += which
        elif what == "begin":
            told = refusal(guesses, which)
            assert (told and told[0]) == model.refusal(which, clock.now)
            if told is None:
                guesses.begin(which, "ada")
                model.running[which] += 1
        elif model.running[which]:
            guesses.end(which, "ada", wrong=what == "wrong")
            model.running[which] -= 1
            if what == "wrong":
                model.failures.append((which, clock.now))
        for address in "abc":
            told = refusal(guesses, address)
            assert (told and told[0]) == model.refusal(address, clock.now)


# -- basic


def login(user: str, password: str, address: str | None = ADDRESS) -> Candidate:
    return request(f"Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}", address=address)


def way(directory: Path, clock: Callable[[], float] | None = None, **keys: Any) -> BasicAuthenticator:
    write(directory / "htpasswd", f"ada:{bcrypt.hashpw(b'right', bcrypt.gensalt(4)).decode()}\n")
    return BasicAuthenticator(settings_with("basic", directory, file="htpasswd", **keys), clock or Clock())


async def come(authenticator: BasicAuthenticator, asked: Candidate) -> str:
    """The name of who came in, or the reason why not."""
    try:
        found = await outcome(authenticator.authenticate(asked))
    except Denied as error:
        return error.reason
    assert found is not None
    return found.name


class Checks:
    """Stands for the hashing: the password is right when it is `right`; each check waits until the test lets it go, when it `held`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, held: bool = False) -> None:
        self.go = threading.Semaphore(0)
        self.held = held
        self.passwords: list[bytes] = []
        monkeypatch.setattr(basic, "verify", self)

    def __call__(self, stored: str, password: bytes) -> bool:
        self.passwords.append(password)
        if self.held:
            assert self.go.acquire(timeout=20)
        return password == b"right"


def test_whoever_guesses_waits_and_nothing_is_hashed_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks(monkeypatch)
    clock = Clock(1000.0)
    authenticator = way(tmp_path, clock)

    async def visits() -> None:
        reasons = [await come(authenticator, login("ada", f"guess {number}")) for number in range(16)]
        assert reasons == ["auth_refused"] * 10 + ["auth_failures"] * 6
        assert len(checks.passwords) == 10
        with pytest.raises(Denied) as caught:
            authenticator.authenticate(login("ada", "right"))
        assert (caught.value.status, caught.value.headers) == (429, (("Retry-After", "6"),))
        assert await come(authenticator, login("ada", "right", "192.0.2.2")) == "ada"
        assert await come(authenticator, login("ada", "right")) == "auth_failures"  # it is remembered now, and still not to be guessed at
        clock.now += 6
        assert await come(authenticator, login("ada", "right")) == "ada"
        await authenticator.close()

    run(visits())


def test_whoever_goes_away_before_the_answer_has_guessed_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks(monkeypatch, held=True)
    authenticator = way(tmp_path, failures_per_minute=2)

    async def visits() -> None:
        tasks = [asyncio.ensure_future(come(authenticator, login("ada", f"guess {number}"))) for number in range(2)]
        await asyncio.sleep(0)
        running = list(authenticator._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert await come(authenticator, login("ada", "right")) == "auth_address_busy"
        checks.go.release(2)
        await asyncio.gather(*running)
        assert await come(authenticator, login("ada", "right")) == "auth_failures"
        await authenticator.close()

    run(visits())


def test_who_is_not_counted_is_not_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checks(monkeypatch)
    authenticator = way(tmp_path)

    async def visits() -> None:
        reasons = {await come(authenticator, login("ada", f"guess {number}", None)) for number in range(30)}
        assert reasons == {"auth_refused"}
        await authenticator.close()

    run(visits())


def test_no_limit_on_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checks(monkeypatch)
    authenticator = way(tmp_path, failures_per_minute=0)

    async def visits() -> None:
        assert {await come(authenticator, login("ada", f"guess {number}")) for number in range(30)} == {"auth_refused"}
        await authenticator.close()

    run(visits())


def test_a_right_password_does_not_wait_for_guesses_of_another_user_behind_the_same_nat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Checks(monkeypatch)
    authenticator = way(tmp_path, Clock(1000.0))

    async def visits() -> None:
        reasons = [await come(authenticator, login("bob", f"guess {number}")) for number in range(11)]
        assert reasons == ["auth_refused"] * 10 + ["auth_failures"]
        assert await come(authenticator, login("ada", "right")) == "ada"
        reasons = [await come(authenticator, login(f"user {number}", "guess")) for number in range(51)]
        assert reasons == ["auth_refused"] * 50 + ["auth_failures"], "60 a minute from one address, whoever they are for"
        assert await come(authenticator, login("ada", "right")) == "auth_failures"
        await authenticator.close()

    run(visits())


@pytest.mark.parametrize(("max_waiting", "share"), [(2 * MIN_ADDRESSES - 1, 2), (MIN_ADDRESSES, 1), (0, 1)])
def test_one_address_has_its_share_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_waiting: int, share: int) -> None:
    checks = Checks(monkeypatch, held=True)
    authenticator = way(tmp_path, threads=1, max_waiting=max_waiting, failures_per_minute=0)

    async def visits() -> None:
        crowd = [asyncio.ensure_future(come(authenticator, login("ada", f"guess {number}"))) for number in range(share + 3)]
        await asyncio.sleep(0)
        assert len(authenticator._running) == share
        other = None if max_waiting == 0 else asyncio.ensure_future(come(authenticator, login("ada", "right", "192.0.2.2")))
        await asyncio.sleep(0)
        checks.go.release(share + 1)
        assert Counter(await asyncio.gather(*crowd)) == {"auth_refused": share, "auth_address_busy": 3}
        assert other is None or await other == "ada"
        assert len(authenticator._guesses._running) == 0
        await authenticator.close()

    run(visits())


def test_clients_of_one_address_with_the_same_password_are_one_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Checks(monkeypatch, held=True)
    authenticator = way(tmp_path, failures_per_minute=2)

    async def visits() -> None:
        tasks = [asyncio.ensure_future(come(authenticator, login("ada", "the old one"))) for _ in range(30)]
        await asyncio.sleep(0)
        checks.go.release(2)
        assert set(await asyncio.gather(*tasks)) == {"auth_refused"}
        assert len(checks.passwords) == 1
        assert await come(authenticator, login("ada", "right")) == "ada"
        await authenticator.close()

    run(visits())


def test_a_check_that_fails_is_no_wrong_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(stored: str, password: bytes) -> bool:
        raise MemoryError

    monkeypatch.setattr(basic, "verify", broken)
    authenticator = way(tmp_path, failures_per_minute=1)

    async def visits() -> None:
        for _ in range(3):
            with pytest.raises(MemoryError):
                await come(authenticator, login("ada", "right"))
        await authenticator.close()

    run(visits())


def test_a_guess_shows_no_secret() -> None:
    shown = repr(basic._Guess("ada", "stored hash", b"hunter2", b"digest", True, ADDRESS))
    assert "hunter2" not in shown and "hash" not in shown and "digest=" not in shown
