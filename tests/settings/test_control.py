"""[daemon] control: auto, none or the path of a unix socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdaemon.settings.addresses import UnixAddress
from wsdaemon.settings.control import AUTO, NONE, ControlForm
from wsdaemon.settings.problems import BadValue

FORM = ControlForm()


@pytest.mark.parametrize(("text", "value"), [("auto", AUTO), ("NONE", NONE), ("unix:/run/ws.sock", UnixAddress("/run/ws.sock", 0o600))])
def test_words_and_paths(text: str, value: object) -> None:
    found = FORM.parse(text)
    assert found == value
    assert FORM.convert(FORM.show(found)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected auto, none or unix:/PATH"),
        ("nona", "expected auto, none or unix:/PATH; did you mean none?"),
        ("tcp:80", "expected auto, none or unix:/PATH"),
        ("unix:", "expected auto, none or unix:/PATH"),
        ("unix:/run/ws.sock:mode=666", "mode is always 600"),
        ("unix:/run/ws.sock:group=ws", "mode is always 600"),
    ],
)
def test_anything_else_is_refused(text: str, expected: str) -> None:
    with pytest.raises(BadValue, match=expected):
        FORM.parse(text)


def test_a_path_is_relative_to_the_file() -> None:
    assert FORM.locate(FORM.parse("unix:ws.sock"), Path("/etc/ws")) == UnixAddress("/etc/ws/ws.sock", 0o600)
    assert FORM.locate(AUTO, Path("/etc/ws")) == AUTO
