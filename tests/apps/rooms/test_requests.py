"""apps/rooms/requests.py and events.py: what a client may say, and how the answers are written."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsdaemon.apps.rooms.events import encode, message_event
from wsdaemon.apps.rooms.requests import MAX_WHOLE_NUMBER, Fault, Request, parse
from wsdaemon.brokers.contract import Message, Position

SINCE = {"epoch": "e", "offset": 3}


def test_good_requests() -> None:
    assert parse(b'{"type":"ping"}') == Request("ping")
    assert parse(json.dumps({"type": "subscribe", "id": 1, "room": "a", "since": SINCE, "presence": True}).encode()) == Request(
        "subscribe", 1, room="a", since=Position("e", 3), presence=True
    )
    assert parse(json.dumps({"type": "subscribe", "pattern": "a.*", "since": {"a.b": SINCE}}).encode()) == Request(
        "subscribe", pattern="a.*", since={"a.b": Position("e", 3)}
    )
    assert parse('{"type":"publish","room":"a","data":"ü","key":"k","echo":true}'.encode()) == Request(
        "publish", room="a", data="ü".encode(), key="k", echo=True
    )
    assert parse(b'{"type":"publish","data":"AP8=","encoding":"base64"}') == Request("publish", data=b"\x00\xff", text=False)
    assert parse(b'{"type":"history","limit":1000,"reverse":true}') == Request("history", limit=1000, reverse=True)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("bad_json", ""),
        ("bad_json", "{"),
        ("bad_json", "[" * 10_000),
        ("bad_message", "[" * 100_000),
        ("bad_json", '{"id":NaN}'),
        ("bad_json", '{"id":' + "1" * 5000 + "}"),
        ("bad_message", "[]"),
        ("bad_message", "1"),
        ("bad_message", "{}"),
        ("bad_message", '{"type":1}'),
        ("bad_message", '{"type":["ping"]}'),
        ("bad_message", '{"type":"nothing"}'),
        ("bad_message", '{"type":"ping","room":"a"}'),
        ("bad_message", '{"type":"ping","id":true}'),
        ("bad_message", '{"type":"ping","id":1.5}'),
        ("bad_message", '{"type":"ping","id":9007199254740992}'),
        ("bad_message", '{"type":"ping","id":{}}'),
        ("bad_message", '{"type":"ping","id":"' + "x" * 65 + '"}'),
        ("bad_message", '{"type":"subscribe","room":""}'),
        ("bad_message", '{"type":"subscribe","room":null}'),
        ("bad_message", '{"type":"subscribe","room":"' + "x" * 257 + '"}'),
        ("bad_message", '{"type":"subscribe","room":"a","presence":1}'),
        ("bad_message", '{"type":"subscribe","room":"a","pattern":"b"}'),
        ("bad_message", '{"type":"subscribe","pattern":"b","presence":true}'),
        ("bad_message", '{"type":"subscribe","room":"a","since":{"a":{"epoch":"e","offset":1}}}'),
        ("bad_message", '{"type":"subscribe","room":"a","since":{"epoch":"e","offset":-1}}'),
        ("bad_message", '{"type":"subscribe","room":"a","since":{"epoch":"e","offset":1.5}}'),
        ("bad_message", '{"type":"ping","id":1e300}'),
        ("bad_message", '{"type":"history","limit":2.5}'),
        ("bad_message", '{"type":"subscribe","room":"a","since":{"epoch":"e","offset":true}}'),
        ("bad_message", '{"type":"subscribe","room":"a","since":{"epoch":"e","offset":1,"x":1}}'),
        ("bad_message", '{"type":"subscribe","room":"a","since":{"epoch":1,"offset":1}}'),
        ("bad_message", '{"type":"subscribe","pattern":"a","since":{"epoch":"e","offset":1}}'),
        ("bad_message", json.dumps({"type": "subscribe", "pattern": "a", "since": dict.fromkeys(map(str, range(101)), SINCE)})),
        ("bad_message", '{"type":"publish","room":"a"}'),
        ("bad_message", '{"type":"publish","room":"a","data":{}}'),
        ("bad_message", '{"type":"publish","room":"a","data":"\\ud800"}'),
        ("bad_message", '{"type":"publish","room":"a","data":"x","encoding":"hex"}'),
        ("bad_message", '{"type":"publish","room":"a","data":"x","encoding":"base64"}'),
        ("bad_message", '{"type":"publish","room":"a","data":"ü===","encoding":"base64"}'),
        ("bad_message", '{"type":"publish","room":"a","data":"x","key":""}'),
        ("bad_message", '{"type":"publish","room":"a","data":"x","key":"' + "k" * 129 + '"}'),
        ("bad_message", '{"type":"history","limit":0}'),
        ("bad_message", '{"type":"history","limit":1001}'),
        ("bad_message", '{"type":"history","encoding":"base64"}'),
    ],
)
def test_what_is_no_request(code: str, text: str) -> None:
    with pytest.raises(Fault) as caught:
        parse(text.encode())
    assert caught.value.code == code
    assert len(str(caught.value)) < 200


def test_a_whole_number_may_be_written_as_a_float() -> None:
    """As clients write it whose language has only floats; the answer has the number without the fraction."""
    assert parse(b'{"type":"ping","id":3.0}') == Request("ping", 3)
    assert type(parse(b'{"type":"ping","id":3.0}').id) is int
    assert parse(b'{"type":"history","limit":20.0}') == Request("history", limit=20)
    since = b'{"epoch":"e","offset":3.0}'
    assert parse(b'{"type":"subscribe","since":%b}' % since) == Request("subscribe", since=Position("e", 3))
    assert parse(b'{"type":"subscribe","pattern":"a.*","since":{"a.b":%b}}' % since) == Request(
        "subscribe", pattern="a.*", since={"a.b": Position("e", 3)}
    )


def test_a_fault_has_the_id_of_its_request() -> None:
    with pytest.raises(Fault) as caught:
        parse(b'{"id":"q","type":"nothing"}')
    assert caught.value.id == "q"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_WHOLE_NUMBER * 2, MAX_WHOLE_NUMBER * 2) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["epoch", "offset", "a", "b"]), inner, max_size=3),
    max_leaves=5,
)
types = st.sampled_from(["subscribe", "unsubscribe", "publish", "history", "presence", "ping"])
names = st.sampled_from(["id", "room", "pattern", "since", "presence", "data", "encoding", "key", "echo", "limit", "reverse", "other"])


@settings(deadline=None)
@given(types, st.dictionaries(names, json_values, max_size=4))
def test_anything_is_a_request_or_a_fault(type: str, fields: dict[str, Any]) -> None:
    try:
        request = parse(json.dumps({**fields, "type": type}).encode())
    except Fault as fault:
        encode({"id": fault.id, "message": str(fault)})
    else:
        assert request.type == type


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_request_or_a_fault(payload: bytes) -> None:
    with suppress(Fault):
        parse(payload)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_text_comes_through_as_it_was(text: str) -> None:
    event = message_event(Message("r", "e", 1, text.encode(), True, 1.23456, None))
    assert json.loads(encode(event)) == {
        "type": "message", "room": "r", "epoch": "e", "offset": 1, "time": 1.235, "publisher": None, "data": text,
    }  # fmt: skip


def test_a_lone_surrogate_comes_back_escaped() -> None:
    assert encode({"id": "\ud800"}) == b'{"id":"\\ud800"}'


def test_a_request_of_many_parts_is_not_parsed() -> None:
    """A mebibyte of empty lists takes a quarter of a second to parse, and deflates to 1.5 KB."""
    for body in (b"[[]]" + b",[[]]" * 200_000, b'{"a":1' + b',"a":1' * 100_000 + b"}", b"[" * 500_000):
        with pytest.raises(Fault) as caught:
            parse(body)
        assert caught.value.code == "bad_message"


def test_what_is_in_a_string_is_no_part() -> None:
    inner = json.dumps([[number, "[,{"] for number in range(20_000)])
    request = parse(json.dumps({"type": "publish", "room": "r", "data": inner}).encode())
    assert request.data == inner.encode()


def test_a_number_of_many_digits_is_no_json() -> None:
    with pytest.raises(Fault) as caught:
        parse(b'{"type": "history", "limit": ' + b"9" * 4000 + b"}")
    assert caught.value.code == "bad_json"
