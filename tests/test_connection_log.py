"""The line at the end of a connection, and what may be shown of a URL."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, Logger

from wsdaemon.ops.connection_log import ConnectionRecord, connection_closed, redact_query, size_text
from wsdaemon.ops.log_format import JsonRenderer, TextRenderer, TextShape

RECORD = ConnectionRecord(
    id="c4f2",
    peer="203.0.113.9:51812",
    listener="tcp:8080",
    mount="/chat",
    user_agent="Mozilla/5.0",
    seconds=12.3456,
    messages_in=12,
    messages_out=1,
    bytes_in=3482,
    bytes_out=512,
    code=1000,
    reason="",
    closed_by="client",
)


def logged(record: ConnectionRecord) -> LogEvent:
    events: list[LogEvent] = []
    observer: Any = events.append
    connection_closed(Logger("wsdaemon.connections", observer=observer), record)
    (event,) = events
    return event


def text_of(record: ConnectionRecord) -> str:
    rendered = TextRenderer(TextShape.PREFIXED)(logged(record))
    assert rendered is not None
    return rendered.decode()


def json_of(record: ConnectionRecord) -> dict[str, Any]:
    rendered = JsonRenderer()(logged(record))
    assert rendered is not None
    parsed = json.loads(rendered)
    assert isinstance(parsed, dict)
    return parsed


def test_the_line() -> None:
    assert text_of(RECORD) == (
        '<6>wsdaemon.connections: closed c4f2 203.0.113.9:51812 on tcp:8080 /chat by client 1000 "" after 12.3s,'
        ' in 12 msgs 3.4 KiB, out 1 msg 512 B, ua="Mozilla/5.0"\n'
    )


def test_each_field_stands_on_its_own_in_json() -> None:
    parsed = json_of(RECORD)
    assert {key: parsed[key] for key in dataclasses.asdict(RECORD)} == dataclasses.asdict(RECORD) | {"seconds": 12.346}
    assert parsed["event"] == "connection_closed"
    assert "record" not in parsed


def test_a_hostile_user_agent_and_reason_stay_inside_their_quotes() -> None:
    record = dataclasses.replace(RECORD, user_agent='x" ua="y\n\x1b[31m\\', reason='"\r\nforged', mount=None)
    line = text_of(record)
    assert line.endswith('ua="x\\" ua=\\"y\\n\\x1b[31m\\\\"\n')
    assert ' - by client 1000 "\\"\\r\\nforged" after' in line
    assert line.count("\n") == 1
    assert json_of(record)["reason"] == '"\r\nforged'


def test_a_long_or_missing_user_agent() -> None:
    assert len(text_of(dataclasses.replace(RECORD, user_agent="x" * 5000))) < 600
    assert len(json_of(dataclasses.replace(RECORD, user_agent="x" * 5000))["user_agent"]) < 300
    missing = dataclasses.replace(RECORD, user_agent=None)
    assert text_of(missing).endswith("ua=-\n")
    assert json_of(missing)["user_agent"] is None


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (2 * 1024**4, "2.0 TiB"),
        (3000 * 1024**4, "3000.0 TiB"),
    ],
)
def test_sizes(count: int, expected: str) -> None:
    assert size_text(count) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/chat", "/chat"),
        ("/chat?room=1&user=ann", "/chat?room=1&user=ann"),
        ("/chat?token=abc&room=1", "/chat?token=***&room=1"),
        ("/chat?room=1&access_token=abc", "/chat?room=1&access_token=***"),
        ("/chat?Access-Token=abc", "/chat?Access-Token=***"),
        ("/chat?%74oken=abc", "/chat?%74oken=***"),
        ("/chat?token=a/b+c%3D==", "/chat?token=***"),
        ("/chat?token=ab;cd&x=1", "/chat?token=***&x=1"),
        ("/chat?x=1;token=ab;y=2&z=3", "/chat?x=1;token=***&z=3"),
        ("/chat?x=1?token=ab", "/chat?x=1?token=***"),
        ("/chat?token=", "/chat?token="),
        ("/chat?a/token=abc", "/chat?a/token=***"),
        ("/chat#access_token=abc&x=1", "/chat#access_token=***&x=1"),
        ("/chat?x=1#id_token=abc", "/chat?x=1#id_token=***"),
        ("/token=abc", "/token=abc"),
        ("/chat?eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "/chat?***"),
        ("/chat?debug", "/chat?debug"),
        ("wss://ann:hunter2@example.org/x?y=1", "wss://***@example.org/x?y=1"),
        ("redis://:hunter2@example.org:6379/0", "redis://***@example.org:6379/0"),
        ("wss://example.org/x?at=a@b", "wss://example.org/x?at=a@b"),
        ("", ""),
    ],
)
def test_redact_query(url: str, expected: str) -> None:
    assert redact_query(url) == expected


@pytest.mark.parametrize(
    "key",
    ["token", "access_token", "refreshToken", "ticket", "key", "api_key", "apikey", "x-api-key", "password", "passwd", "pwd", "jwt", "auth",
     "Authorization", "secret", "client_secret", "signature", "sig", "session", "sid", "code", "X-Amz-Credential"],
)  # fmt: skip
def test_keys_that_are_masked(key: str) -> None:
    assert redact_query(f"/x?{key}=hunter2") == f"/x?{key}=***"


@given(st.text(), st.text(alphabet=st.characters(exclude_characters="&#"), min_size=1))
def test_a_token_value_is_never_shown(before: str, value: str) -> None:
    shown = redact_query(f"/x?{before}&token=MARK{value}")
    assert "MARK" not in shown
