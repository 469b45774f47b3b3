"""core/sizes.py: one text for a number of bytes or of things, in logs and in commands."""

from __future__ import annotations

import pytest

from wsdaemon.core.sizes import counted, size_text


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"), (1023, "1023 B"), (1023.7, "1.0 KiB"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1024**2 - 1, "1.0 MiB"),
        (5 << 20, "5.0 MiB"), (5 * 1024**3, "5.0 GiB"), (2 * 1024**4, "2.0 TiB"), (3000 * 1024**4, "3000.0 TiB"), (0.4, "0 B"),
    ],
)  # fmt: skip
def test_sizes_have_a_unit(count: float, expected: str) -> None:
    assert size_text(count) == expected


@pytest.mark.parametrize(("count", "text"), [(0, "0 connections"), (1, "1 connection"), (2, "2 connections")])
def test_one_thing_is_no_plural(count: int, text: str) -> None:
    assert counted(count, "connection") == text
