"""The line at the end of a connection."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger

from wsdaemon.core.connection import Connection
from wsdaemon.core.handshake import Handshake, Headers, Peer
from wsdaemon.core.identity import Identity
from wsdaemon.ops.connection_log import ConnectionRecord, connection_closed, record_of
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


def test_the_line_names_user_path_and_room() -> None:
    record = dataclasses.replace(RECORD, mount="/rooms/{room}", path="/rooms/lobby", room="lobby", user="ada")
    assert text_of(record).startswith(
        '<6>wsdaemon.connections: closed c4f2 203.0.113.9:51812 user="ada" on tcp:8080 /rooms/lobby room="lobby" by client 1000 '
    )
    parsed = json_of(record)
    assert (parsed["user"], parsed["path"], parsed["room"], parsed["mount"]) == ("ada", "/rooms/lobby", "lobby", "/rooms/{room}")


def test_a_hostile_path_stays_inside_its_quotes() -> None:
    path = '/rooms/a" by client 1000 "\n\x1b[31m' + "x" * 9000
    line = text_of(dataclasses.replace(RECORD, path=path, room=path[7:], user='eve" x'))
    assert 'user="eve\\" x" on tcp:8080 "/rooms/a\\" by client 1000 \\"\\n\\x1b[31mxxx' in line
    assert line.count("\n") == 1 and len(line) < 2000
    assert len(str(json_of(dataclasses.replace(RECORD, path=path))["path"])) < 600


def test_a_record_is_of_its_connection() -> None:
    handshake = Handshake(
        target="/rooms/r%C3%A9d?token=secret", path="/rooms/réd", raw_path=b"/rooms/r%C3%A9d", query_string=b"token=secret",
        headers=Headers([(b"user-agent", b"x"), (b"cookie", b"secret")]), params={"room": "réd"}, peer=Peer("192.0.2.7", 5),
        identity=Identity("ada", "jwt:staff", {"secret": 1}), listener="web", mount="/rooms/{room}",
    )  # fmt: skip
    wire: Any = Sums()
    connection = Connection(wire, handshake, "c4f2")
    connection._ended(1001, "bye", "server")
    record = record_of(connection, wire)
    assert (record.id, record.peer, record.user, record.path, record.room) == ("c4f2", "192.0.2.7:5", "ada", "/rooms/réd", "réd")
    assert (record.listener, record.mount, record.user_agent) == ("web", "/rooms/{room}", "x")
    assert (record.messages_in, record.messages_out, record.bytes_in, record.bytes_out) == (1, 2, 3, 4)
    assert (record.code, record.reason, record.closed_by) == (1001, "bye", "server") and record.seconds >= 0
    assert "secret" not in text_of(record) + json.dumps(json_of(record))
    handshake.let_go()
    assert record_of(connection, wire).user_agent == "x"


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_trace_of_the_request_is_in_the_line() -> None:
    handshake = Handshake(target="/", path="/", raw_path=b"/", headers=Headers([(b"Traceparent", TRACE.encode())]), listener="web")
    wire: Any = Sums()
    connection = Connection(wire, handshake, "c4f2")
    connection._ended(1001, "bye", "server")
    for _ in range(2):
        record = record_of(connection, wire)
        assert text_of(record).endswith(f"ua=- traceparent={TRACE}\n")
        assert json_of(record)["traceparent"] == TRACE
        handshake.let_go()
    assert "traceparent" not in text_of(RECORD)


@pytest.mark.parametrize(
    ("peer", "address"),
    [("192.0.2.7:5", "192.0.2.7"), ("192.0.2.7", "192.0.2.7"), ("[2001:db8::1]:5", "2001:db8::1"), ("2001:db8::1",) * 2, ("unix",) * 2],
)
def test_the_address_without_its_port(peer: str, address: str) -> None:
    assert dataclasses.replace(RECORD, peer=peer).address == address


class Sums:
    messages_in, messages_out, bytes_in, bytes_out = 1, 2, 3, 4
    congested = False
    live = False

    @property
    def writer(self) -> Sums:
        return self


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
