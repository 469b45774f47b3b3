"""contract.py: what a mount may expect of open()."""

from __future__ import annotations

from typing import Any

import pytest

from wsdaemon.core.contract import open_session


class App:
    def __init__(self, session: Any) -> None:
        self.session = session

    def open(self, connection: object, handshake: object) -> Any:
        return self.session


class Session:
    def received(self, message: str | bytes) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


class Payloads:
    def received_payload(self, payload: bytes, text: bool) -> None: ...

    def closed(self, code: int, reason: str) -> None: ...


def opened(session: object) -> object:
    nothing: Any = None
    return open_session(App(session), nothing, nothing)


@pytest.mark.parametrize("session", [Session(), Payloads()])
def test_a_session_of_either_kind(session: object) -> None:
    assert opened(session) is session


@pytest.mark.parametrize("session", [None, 5, "session"])
def test_what_is_no_session_is_said_in_full(session: object) -> None:
    with pytest.raises(TypeError) as raised:
        opened(session)
    assert str(raised.value) == f"App.open() returned {session!r}; expected a session with received() and closed()"
