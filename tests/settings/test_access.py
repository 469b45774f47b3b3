"""settings/access.py: the form of `[logging] access_format`."""

from __future__ import annotations

import pytest

from wsdaemon.settings.access import FIELDS, MAX_CHARACTERS, MAX_FIELDS, AccessFormatForm, split_format
from wsdaemon.settings.problems import BadValue

FORM = AccessFormatForm()


@pytest.mark.parametrize("text", ["", "{peer}", '{address} - {user} [{time}] "{path}" {code} {bytes_out}', "{{{id}}}", "x" * 1000 + "{id}"])
def test_formats(text: str) -> None:
    assert FORM.parse(text) == FORM.accept(text) == text


def test_every_field_may_stand_in_one() -> None:
    assert [part.field for part in split_format("".join(f"{{{name}}}" for name in FIELDS))] == list(FIELDS)


def test_the_parts() -> None:
    assert [(part.literal, part.field) for part in split_format("a {id} {{b}} {code}!")] == [
        ("a ", "id"), (" {", None), ("b}", None), (" ", "code"), ("!", None)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{pear}", "there is no field {pear}; the fields are time, id, peer, "),
        ("{pear}", "; did you mean {peer}?"),
        ("{}", "there is no field {}"),
        ("{0}", "there is no field {0}"),
        ("{peer.__class__}", "there is no field {peer.__class__}"),
        ("{peer[0]}", "there is no field {peer[0]}"),
        ("{peer!r}", "expected {peer} alone"),
        ("{peer:>999999999}", "expected {peer} alone"),
        ("{peer", "expected text with fields such as {path}, and {{ and }} for braces; "),
        ("peer}", "for braces; "),
        ("nothing", "from 1 to 64 fields"),
        ("{id}" * (MAX_FIELDS + 1), "from 1 to 64 fields"),
        ("x" * MAX_CHARACTERS + "{id}", "at most 1024 printable characters"),
        ("{id}\n", "at most 1024 printable characters"),
        ("{id}\x1b[31m", "at most 1024 printable characters"),
    ],
)
def test_problems(text: str, words: str) -> None:
    with pytest.raises(BadValue) as caught:
        FORM.parse(text)
    assert words in str(caught.value)


def test_a_value_of_python_is_text() -> None:
    with pytest.raises(BadValue):
        FORM.accept(5)
