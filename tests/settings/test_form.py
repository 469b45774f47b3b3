"""settings/form.py: sizes, durations, numbers and flags: what they take, what they say when they refuse, and that they read back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.forms import refused
from wsdaemon.settings.form import DurationForm, FlagForm, SizeForm, WholeForm
from wsdaemon.settings.values import (
    PositiveSize,
    get_form,
)

SIZE = SizeForm()
DURATION = DurationForm()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("64KiB", 65536), ("1MiB", 2**20), ("3GiB", 3 * 2**30), ("1TiB", 2**40), (" 64KiB\t", 65536), ("007", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert SIZE.convert(text) == size


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("64K", "64KiB"),
        ("64kb", "64KiB"),
        ("64 KiB", "64KiB"),
        ("1m", "1MiB"),
        ("1MB", "1MiB"),
        ("2gib", "2GiB"),
        ("10 bytes", "10"),
        ("10B", "10"),
    ],
)
def test_size_nearly_right_says_what_was_meant(text: str, meant: str) -> None:
    assert refused(SIZE, text) == f"expected a size such as 64KiB or 1MiB; did you mean {meant}?"


@pytest.mark.parametrize(
    "value", ["", "1 potato", "-1", "+1", "1.5MiB", "1e6", "0x10", "1_000", "nan", "inf", "٣", "9" * 5000, True, 1.5, None, [], b"1"]
)
def test_no_size(value: object) -> None:
    assert refused(SIZE, value) == "expected a size such as 64KiB or 1MiB"


@pytest.mark.parametrize("value", [-1, 2**40 + 1, 10**400, "2TiB", "999999999999999TiB"])
def test_size_out_of_range(value: object) -> None:
    assert refused(SIZE, value) == "expected a size from 0 to 1TiB"


def test_size_that_must_not_be_zero() -> None:
    assert refused(get_form(PositiveSize), "0KiB") == "expected a size from 1 to 1TiB"


@given(st.integers(0, 2**40))
def test_every_size_reads_back(size: int) -> None:
    assert SIZE.convert(SIZE.show(size)) == SIZE.convert(size) == size


def test_sizes_are_shown_in_the_largest_unit_that_divides_them() -> None:
    assert [SIZE.show(size) for size in (0, 1000, 1024, 1536, 2**20, 2**40)] == ["0", "1000", "1KiB", "1536", "1MiB", "1TiB"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("1.5s", 1.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("0", 0.0),
        ("0s", 0.0),
        (30, 30.0),
        (0.25, 0.25),
        (0, 0.0),
        (timedelta(minutes=1), 60.0),
    ],
)
def test_durations(value: object, seconds: float) -> None:
    converted = DURATION.convert(value)
    assert converted == seconds
    assert type(converted) is float


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30", "30s"),
        ("30 s", "30s"),
        ("30S", "30s"),
        ("5min", "5m"),
        ("10 seconds", "10s"),
        ("500 ms", "500ms"),
        ("2hours", "2h"),
        ("1.5", "1.5s"),
        ("2w", "14d"),
        ("1 year", "365d"),
    ],
)
def test_duration_nearly_right_says_what_was_meant(text: str, meant: str) -> None:
    assert refused(DURATION, text) == f"expected a duration such as 500ms, 30s or 5m, or 0; did you mean {meant}?"


@pytest.mark.parametrize(
    "value", ["", "soon", "-1s", "+1s", "1e3s", "nan", "nans", "inf", ".5s", "1.s", "1m30s", "3 mo", "0.5w", "3x", float("nan"), True, None]
)
def test_no_duration(value: object) -> None:
    assert refused(DURATION, value) == "expected a duration such as 500ms, 30s or 5m, or 0"


@pytest.mark.parametrize(
    "value", [-1, -0.5, 1e-9, "0.5ms", "366d", "999999999999d", float("inf"), float("-inf"), 10**400, timedelta(days=-1)]
)
def test_duration_out_of_range(value: object) -> None:
    assert refused(DURATION, value) == "expected a duration from 1ms to 365d, or 0"


@pytest.mark.parametrize("value", ["0", "0s", 0, 0.0, "0.0ms"])
def test_duration_that_must_not_be_zero(value: object) -> None:
    assert refused(DurationForm(zero=False), value).startswith("expected a duration ")


@given(st.just(0.0) | st.floats(0.001, 365 * 86400.0) | st.integers(1, 10**6).map(lambda number: number / 1000))
def test_every_duration_reads_back(seconds: float) -> None:
    assert DURATION.convert(DURATION.show(seconds)) == DURATION.convert(seconds) == seconds


def test_durations_are_shown_in_the_largest_unit_that_divides_them() -> None:
    assert [DURATION.show(value) for value in (0.0, 0.5, 1.0, 90.0, 300.0, 7200.0, 86400.0)] == [
        "0s",
        "500ms",
        "1s",
        "90s",
        "5m",
        "2h",
        "1d",
    ]
    assert DURATION.show(0.1 + 0.2) == "0.30000000000000004s"


@pytest.mark.parametrize("value", ["", "0", "10", "-1", "1.0", "1 0", "nan", "9" * 5000, 0, 10, True, 1.0, None])
def test_no_whole_number_of_a_range(value: object) -> None:
    assert refused(WholeForm(1, 9), value) == "expected a whole number from 1 to 9"


def test_whole_numbers() -> None:
    assert [WholeForm(1, 9).convert(value) for value in ("1", " 9 ", 5)] == [1, 9, 5]


@pytest.mark.parametrize(
    ("value", "flag"),
    [("on", True), ("yes", True), ("True", True), ("off", False), ("NO", False), ("false", False), (True, True), (False, False)],
)
def test_flags(value: object, flag: bool) -> None:
    assert FlagForm().convert(value) is flag


@pytest.mark.parametrize("value", ["", "1", "0", "y", "enabled", 1, 0, None])
def test_no_flag(value: object) -> None:
    assert refused(FlagForm(), value) == "expected on or off"


def test_a_duration_may_have_a_shortest_value_of_its_own() -> None:
    form = DurationForm(zero=False, shortest=1.0)
    assert form.convert("1s") == form.convert(1) == 1.0
    assert refused(form, "999ms") == refused(form, 0) == "expected a duration from 1s to 365d"
