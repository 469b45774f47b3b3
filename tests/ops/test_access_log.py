"""ops/access_log.py: the closing line in the operator's own format."""

from __future__ import annotations

import dataclasses
import random
import re

import pytest

from wsdaemon.ops.access_log import VALUE_LIMIT, AccessFormat, AccessLine
from wsdaemon.ops.connection_log import ConnectionRecord
from wsdaemon.settings.access import FIELDS

RECORD = ConnectionRecord(
    "c4f2", "[2001:db8::1]:51812", "web", "/rooms/{room}", "Mozilla/5.0 (X11)", 12.3456, 12, 1, 3482, 512, 1000, "", "client", "ada",
    "/rooms/lobby", "lobby", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
)  # fmt: skip


def line(text: str, record: ConnectionRecord = RECORD) -> str:
    return str(AccessLine(AccessFormat(text), record))


def test_every_field() -> None:
    fields = [name for name in FIELDS if name != "time"]
    assert line(" ".join(f"{name}={{{name}}}" for name in fields)) == (
        "id=c4f2 peer=[2001:db8::1]:51812 address=2001:db8::1 user=ada listener=web mount=/rooms/{room} path=/rooms/lobby room=lobby "
        'user_agent="Mozilla/5.0 (X11)" traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 seconds=12.346 messages_in=12 '
        "messages_out=1 bytes_in=3482 bytes_out=512 code=1000 reason=- closed_by=client"
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line("{time}"))


def test_braces_and_missing_values() -> None:
    bare = dataclasses.replace(RECORD, user=None, room=None, user_agent=None, traceparent=None, path=None)
    assert line('{{{id}}} {user} "{room}" {path}', bare) == '{c4f2} - "" -'


def test_quotes_of_the_format_are_kept_and_others_are_added_where_they_are_needed() -> None:
    record = dataclasses.replace(RECORD, reason='so "long"\n', user_agent="plain")
    assert line('"{reason}" {reason} {user_agent} "{user_agent}"', record) == (
        r'"so \"long\"\n" "so \"long\"\n" plain "plain"'
    )  # fmt: skip


COMBINED = r'{address} [{time}] "GET {path} HTTP/1.1" {code} "{room}{user_agent}" \" {reason} "a \" {user} b" {id}'


def test_quotes_that_do_not_touch_a_field_are_around_it_too() -> None:
    made = line(COMBINED, dataclasses.replace(RECORD, path='/a" 200 "', user_agent='b"', reason='so "long"', user='x" y'))
    assert re.sub(r"\[.*\]", "[]", made, count=1) == (
        r'2001:db8::1 [] "GET /a\" 200 \" HTTP/1.1" 1000 "lobbyb\"" \" "so \"long\"" "a \" x\" y b" c4f2'
    )
    assert line('"GET {path}" "{path}"', dataclasses.replace(RECORD, path=None)) == '"GET -" ""'


def test_long_values_are_cut() -> None:
    assert len(line("{user_agent}", dataclasses.replace(RECORD, user_agent="x" * 100_000))) == VALUE_LIMIT + 3


@pytest.mark.parametrize("text", ["{user} {reason} {path} {user_agent}", '"{user}" "{reason}" "{path}" "{user_agent}"'])
def test_no_client_ends_the_line_or_its_quotes(text: str) -> None:
    chance, letters = random.Random(7), 'a" \\\n\r\x1b\x85\u2028\u202e\ud800{}='
    value = r'(?:[!#-\[\]-~]+|"(?:[^"\\]|\\.)*"|-)'
    for _ in range(2000):
        user, reason, path, agent = ("".join(chance.choices(letters, k=chance.randrange(12))) for _ in range(4))
        made = line(text, dataclasses.replace(RECORD, user=user, reason=reason, path=path, user_agent=agent))
        assert made.isprintable()
        assert re.fullmatch(f"{value} {value} {value} {value}", made), made
