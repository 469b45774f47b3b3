"""settings/authority.py: the Host header of a server."""

from __future__ import annotations

import pytest

from wsdaemon.settings.authority import Authority


@pytest.mark.parametrize(
    ("secure", "host", "port", "expected"),
    [
        (False, "a.example", 80, "a.example"), (False, "a.example", 443, "a.example:443"), (True, "a.example", 443, "a.example"),
        (True, "a.example", 80, "a.example:80"), (True, "::1", 443, "[::1]"), (False, "::1", 9000, "[::1]:9000"),
    ],
)  # fmt: skip
def test_the_port_of_the_scheme_is_left_out(secure: bool, host: str, port: int, expected: str) -> None:
    found = Authority(secure, host, port)
    assert (found.authority, found.scheme) == (expected, "wss" if secure else "ws")
