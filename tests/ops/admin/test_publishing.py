"""ops/admin/publishing.py: bodies with many messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.admin import problem
from tests.support.outside import Member, Outside
from wsdaemon.ops.admin.room_table import MOST_MESSAGES


def test_many_messages_in_their_order() -> None:
    outside, member = Outside(max_message=5), Member("m-1")
    outside.broker.subscribe("a", member)
    results = outside.many(
        {"room": "a", "data": "é", "key": "k", "content_type": "text/html"},
        {"room": "a", "data": "AAH/", "encoding": "base64"},
        {"room": "a", "data": "é", "key": "k"},
        {"room": "a", "data": "too long"},
        {"room": "a", "data": "x", "mount": "/nowhere"},
        {"room": "b", "data": ""},
    )
    assert [one.get("offset", one.get("code")) for one in results] == [1, 2, 1, "message_too_big", "no_mount", 1]
    assert [one.get("duplicate") for one in results] == [False, False, True, None, None, False]
    assert all(one["room"] in ("a", "b") for one in results)
    assert [(message.payload, message.text, message.content_type) for message in member.messages] == [
        ("é".encode(), True, "text/html"),
        (b"\x00\x01\xff", False, None),
    ]


def test_one_of_many_that_comes_too_soon() -> None:
    outside = Outside(rate=0.5, burst=1)
    first, second = outside.many({"room": "a", "data": "1"}, {"room": "a", "data": "2"})
    assert first["offset"] == 1
    assert (second["status"], second["code"], second["retry_after"]) == (429, "rate_limited", 2)


def test_the_largest_batch_is_not_too_large() -> None:
    one = {"room": "a,[{", "data": "AAEC", "encoding": "base64", "key": "k,[{", "content_type": "a/b", "mount": "/none"}
    answer = Outside().ask("POST /api/publish", body=json.dumps({"messages": [one] * MOST_MESSAGES}).encode())
    assert answer.status == 200 and len(json.loads(answer.body)["results"]) == MOST_MESSAGES


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("", "The body is not JSON."),
        ("NaN", "The body is not JSON."),
        ("[" * 15_000, "The body is not JSON."),
        ("[" * 100_000, "The body has more than 20000 commas and brackets."),
        ("[" + "[]," * 1_400_000 + "1]", "The body has more than 20000 commas and brackets."),
        ("[]", 'Expected {"messages": [...]}.'),
        ('{"messages":{}}', 'Expected {"messages": [...]}.'),
        ('{"messages":[],"more":1}', 'Expected {"messages": [...]}.'),
        ('{"messages":[1]}', "messages[0]: expected an object."),
        ('{"messages":[{"room":"a","data":"x"},{"room":"a"}]}', "messages[1].data: missing."),
        ('{"messages":[{"data":"x"}]}', "messages[0].room: missing."),
        ('{"messages":[{"room":"a","data":1}]}', "messages[0].data: expected text."),
        ('{"messages":[{"room":"a","data":"x","key":""}]}', "messages[0].key: expected text of up to 256 characters."),
        ('{"messages":[{"room":"a","data":"?","encoding":"base64"}]}', "messages[0].data: expected base64."),
        ('{"messages":[{"room":"a","data":"","encoding":"hex"}]}', "messages[0].encoding: expected base64."),
        ('{"messages":[{"room":"a","data":"\\ud800"}]}', "messages[0].data: expected text without lone surrogates."),
        ('{"messages":[{"room":"a","data":"","content_type":"a\\n"}]}',
         "messages[0].content_type: expected printable ASCII of up to 255 characters."),
        ('{"messages":[{"room":"a","data":"x","echo":true}]}',
         "messages[0]: unknown field; the fields are room, data, encoding, key, content_type, mount."),
    ],
)  # fmt: skip
def test_a_body_of_another_form_publishes_nothing(body: str, detail: str) -> None:
    outside = Outside()
    answer = outside.ask("POST /api/publish", body=body.encode())
    assert problem(answer)[0] == 400
    assert json.loads(answer.body)["detail"] == detail
    assert outside.broker.room_count == 0


def test_too_many_messages() -> None:
    body = json.dumps({"messages": [{"room": "a", "data": ""}] * 1001}).encode()
    assert problem(Outside().ask("POST /api/publish", body=body)) == (400, "bad_body")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["room", "data", "encoding", "key", "mount"]), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(json_values)
def test_no_body_is_an_error_of_ours(value: object) -> None:
    assert Outside().ask("POST /api/publish", body=json.dumps({"messages": value}).encode()).status in (200, 400)
