"""command/conversation.py: the lines of a pipe, the commands that are typed, and the end. tests/live/test_command.py has it whole."""

from __future__ import annotations

from typing import Any, cast

import pytest

from wsdaemon.client import ConnectFailed, WebSocketClient
from wsdaemon.command.conversation import HELP, LONGEST_LINE, BadInput, Conversation, _lines
from wsdaemon.command.exits import CommandFailed, Exit


class TypedPrompt:
    def __init__(self) -> None:
        self.printed: list[str] = []

    def above(self, text: str) -> None:
        self.printed.append(text)


class Client:
    """Ends as it is told."""

    def __init__(self, conversation: Conversation, code: int = 1000, clean: bool = True, error: Exception | None = None) -> None:
        self.conversation, self.code, self.closed_cleanly, self.error = conversation, code, clean, error
        self.closes: list[tuple[int, str]] = []
        self.queued, self.is_open = 0, True

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.closes.append((code, reason))

    def run_forever(self) -> None:
        if self.error is not None:
            self.conversation._on_error(cast(WebSocketClient, self), self.error)
            raise self.error
        self.conversation._on_close(cast(WebSocketClient, self), self.code, "")


class Silent:
    def opened(self, client: WebSocketClient, /) -> None: ...

    def message(self, message: str | bytes, /) -> None: ...

    def closed(self, code: int, reason: str, clean: bool, /) -> None: ...


def test_lines_lose_their_ends_and_nothing_else() -> None:
    assert list(_lines([b"one\n", b"\n", b"two\r\n", b" three"])) == ["one", "", "two", " three"]


def test_lines_that_cannot_be_sent_are_refused() -> None:
    with pytest.raises(BadInput, match="line 2 of standard input is not UTF-8"):
        list(_lines([b"one\n", b"\xff\n"]))
    with pytest.raises(BadInput, match="longer than"):
        list(_lines([b"x" * (LONGEST_LINE + 1)]))


@pytest.mark.parametrize(
    ("line", "binary", "expected"),
    [
        ("text", False, ["text"]), ("text", True, [b"text"]), ("//text", False, ["/text"]), ("/binary 00 ff", False, [b"\x00\xff"]),
        ("/binary 0g", False, []), ("/close", False, []), ("/help", False, []),
    ],
)  # fmt: skip
def test_lines_that_are_typed(line: str, binary: bool, expected: list[Any]) -> None:
    prompt = TypedPrompt()
    conversation = Conversation(Silent(), binary=binary, prompt=cast(Any, prompt))
    assert list(conversation._typed(cast(WebSocketClient, Client(conversation)), line)) == expected


def test_commands_that_are_typed() -> None:
    prompt = TypedPrompt()
    conversation = Conversation(Silent(), binary=False, prompt=cast(Any, prompt))
    client = Client(conversation)
    for line in ("/close 4000 good bye", "/close", "/close now", "/what"):
        conversation._typed(cast(WebSocketClient, client), line)
    assert client.closes == [(4000, "good bye"), (1000, "")]
    assert prompt.printed[0].startswith("/close: ")
    assert prompt.printed[1] == HELP


@pytest.mark.parametrize(
    ("code", "clean", "status"),
    [(1000, True, 0), (1001, True, 0), (1005, True, 0), (1011, True, 6), (4000, True, 6), (1000, False, 6), (1006, False, 6)],
)
def test_the_status_tells_how_it_ended(code: int, clean: bool, status: int) -> None:
    conversation = Conversation(Silent(), binary=False)
    assert conversation.hold(cast(WebSocketClient, Client(conversation, code, clean))) == status


def test_a_server_that_is_not_reached() -> None:
    conversation = Conversation(Silent(), binary=False)
    with pytest.raises(CommandFailed) as failed:
        conversation.hold(cast(WebSocketClient, Client(conversation, error=ConnectFailed("no route"))))
    assert failed.value.exit_code == Exit.UNREACHABLE
    assert failed.value.message == "no route"
