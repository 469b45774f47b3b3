"""Events as text and as JSON, with any content."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python import log as legacy_log
from twisted.python.failure import Failure

from wsdaemon.ops.log_format import (
    FAILURE_LIMIT,
    FIELD_LIMIT,
    MESSAGE_LIMIT,
    SOURCES_REMEMBERED,
    JsonRenderer,
    Renderer,
    TextRenderer,
    TextShape,
    printable,
)

HOSTILE = "Mozilla\n2026-11-23T05:10:02.123Z info  forged\r\x1b[31m\x9b2J\x00\u2028\u202e\ud800"
MOMENT = 1795410602.1239


def event(template: str | bytes | None = "listening on {where}", **fields: Any) -> LogEvent:
    base = {"log_format": template, "log_level": LogLevel.info, "log_namespace": "wsdaemon.edge", "log_time": MOMENT}
    return base | {"where": "tcp:8080"} | fields


def text(made: LogEvent, shape: TextShape = TextShape.PLAIN) -> str:
    rendered = TextRenderer(shape)(made)
    assert rendered is not None
    return rendered.decode("utf-8")


def as_json(made: LogEvent) -> dict[str, Any]:
    rendered = JsonRenderer()(made)
    assert rendered is not None
    assert rendered.endswith(b"\n")
    assert rendered.count(b"\n") == 1
    parsed = json.loads(rendered, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(parsed, dict)
    return parsed


def failure(message: str = "no\nway") -> Failure:
    try:
        raise ValueError(message)
    except ValueError:
        made: Any = Failure
        return made()  # type: ignore[no-any-return]


class Rude:
    """Fails in every way in which a value can fail."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __format__(self, specification: str) -> str:
        raise RuntimeError("no format")


class RudeError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_plain_text() -> None:
    assert text(event()) == "2026-11-23T05:10:02.123Z info  wsdaemon.edge  listening on tcp:8080\n"
    assert text(event(log_level=LogLevel.critical)).split(" ")[1] == "critical"


def test_coloured_text_differs_only_in_the_level() -> None:
    coloured = text(event(), TextShape.COLOURED)
    assert coloured == "2026-11-23T05:10:02.123Z \x1b[32minfo \x1b[0m wsdaemon.edge  listening on tcp:8080\n"


def test_prefixed_text_has_the_priority_on_each_line() -> None:
    lines = text(event(log_level=LogLevel.error, log_failure=failure()), TextShape.PREFIXED).splitlines()
    assert lines[0] == "<3>wsdaemon.edge: listening on tcp:8080"
    assert all(line.startswith("<3>    ") for line in lines[1:])
    assert len(lines) > 2


def test_a_traceback_stands_beneath_and_cannot_forge_a_line() -> None:
    lines = text(event(log_failure=failure(HOSTILE))).splitlines()
    assert lines[1].startswith("    Traceback")
    assert all(line.startswith("    ") for line in lines[1:])
    assert "forged" in lines[-1]
    assert "".join(lines).isprintable()


def test_legacy_errors_have_their_traceback_beneath_too() -> None:
    caught: list[LogEvent] = []

    def observe(made: LogEvent) -> None:
        if made.get("isError"):
            caught.append(made)

    from twisted.logger import globalLogPublisher

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    try:
        legacy: Any = legacy_log
        legacy.err(failure("broken"), "while testing")
    finally:
        globalLogPublisher.removeObserver(observer)
    lines = text(caught[0]).splitlines()
    assert lines[0].endswith("while testing")
    assert lines[1].startswith("    Traceback")
    assert "broken" in as_json(caught[0])["failure"]
    assert "isError" not in as_json(caught[0])


@pytest.mark.parametrize("shape", TextShape)
def test_hostile_values_cannot_end_the_line_or_reach_the_terminal(shape: TextShape) -> None:
    line = text(event("agent {agent}", agent=HOSTILE, log_namespace=f"a\n{HOSTILE}"), shape)
    assert line.endswith("\n")
    body = line[:-1].replace("\x1b[32m", "").replace("\x1b[0m", "")
    assert body.isprintable()
    assert "Mozilla\\n2026" in body


@given(st.text())
def test_any_text_becomes_one_printable_line(value: str) -> None:
    assert printable(value).isprintable()
    assert text(event("{value}!", value=value)).count("\n") == 1
    parsed = as_json(event("{value}!", value=value))
    assert parsed["value"] == value
    assert parsed["message"] == f"{value}!"


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@given(st.dictionaries(st.text(), ANYTHING))
def test_any_fields_make_valid_json_and_own_keys_stay(fields: dict[str, Any]) -> None:
    parsed = as_json(fields | event("x"))
    assert parsed["message"] == "x"
    assert parsed["namespace"] == "wsdaemon.edge"
    assert parsed["time"] == "2026-11-23T05:10:02.123Z"


def test_json_fields() -> None:
    class Colour(StrEnum):
        RED = "red"

    fields = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "colour": Colour.RED, "inf": math.inf, "big": 10**5000}
    left_out = {"payload": b"secret", "object": Rude(), "list": [1], "log_trace": "x"}
    parsed = as_json(event("listening", log_source=Rude(), **fields, **left_out))
    assert list(parsed)[:4] == ["time", "level", "namespace", "message"]
    assert parsed["level"] == "info"
    assert {key: parsed[key] for key in "abcde"} == {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None}
    assert parsed["colour"] == "red"
    assert parsed["inf"] == "inf"
    assert parsed["big"].startswith("0x")
    assert not set(parsed) & {*left_out, "log_source", "log_time"}


def test_a_field_cannot_replace_our_own_keys() -> None:
    parsed = as_json(event("real", message="forged", level="forged", time=5, log_failure=failure(), failure="forged"))
    assert parsed["message"] == "real"
    assert parsed["message_"] == "forged"
    assert parsed["level_"] == "forged"
    assert parsed["time_"] == 5
    assert parsed["failure"].startswith("Traceback")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (event("{missing}"), "'{missing}' (could not be formatted: KeyError: 'missing')"),
        (event("{value}", value=Rude()), "'{value}' (could not be formatted: RuntimeError: no format)"),
        (event("{} positional"), "'{} positional' (could not be formatted: ValueError"),
        (event("{unclosed"), "'{unclosed' (could not be formatted: ValueError"),
        (event("{value()}", value=lambda: 1 // 0), "'{value()}' (could not be formatted: ValueError: a call"),
        (event(5), "5 (could not be formatted: TypeError"),  # type: ignore[arg-type]
        (event(b"bytes {where}"), "bytes tcp:8080"),
        (event("{value()} {where}", value=lambda: "called"), "called tcp:8080"),
        (event("{where.upper()}"), "TCP:8080"),
    ],
)
def test_formatting_never_loses_the_event(made: LogEvent, expected: str) -> None:
    assert expected in text(made)
    assert as_json(made)["message"].startswith(expected)


def test_an_unformattable_event_does_not_show_its_objects() -> None:
    line = text(event("{missing()}", handshake="Authorization: Bearer hunter2"))
    assert "hunter2" not in line


def test_a_failure_without_text_is_still_logged() -> None:
    try:
        raise RudeError
    except RudeError:
        made: Any = Failure
        caught = made()
    assert "RudeError" in text(event("while testing", log_failure=caught))
    assert "RudeError" in as_json(event("while testing", log_failure=caught))["failure"]
    assert "(no traceback" in text(event("x", log_failure=object()))


def test_an_event_that_says_nothing_is_left_out() -> None:
    renderers: list[Renderer] = [TextRenderer(TextShape.PLAIN), JsonRenderer()]
    for renderer in renderers:
        assert renderer(event(None)) is None
        assert renderer({}) is None
        assert renderer(event(None, log_failure=failure())) is not None


@pytest.mark.parametrize("moment", [None, "now", math.inf, 1e300, object()])
def test_a_useless_time_becomes_now(moment: object) -> None:
    assert text(event(log_time=moment)).startswith("2")


def test_missing_level_and_namespace() -> None:
    assert " info  -  hello\n" in text({"log_format": "hello"})
    assert " info  -  hello\n" in text({"log_format": "hello", "log_level": "loud", "log_namespace": 5})


def test_sizes_are_limited() -> None:
    huge = "x" * 1_000_000
    assert len(text(event("{huge}", huge=huge))) < MESSAGE_LIMIT + 200
    assert len(as_json(event("x", huge=huge))["huge"]) < FIELD_LIMIT + 100
    caught = text(event("x", log_failure=failure(huge + "END")))
    assert len(caught) < FAILURE_LIMIT + 1000
    assert caught.rstrip().endswith("END")
    assert "Traceback" in caught


def test_real_logger_events_render() -> None:
    caught: list[LogEvent] = []
    observer: Any = caught.append
    Logger("wsdaemon.test", observer=observer).warn("hello {who}", who="you")
    assert " warn  wsdaemon.test  hello you\n" in text(caught[0])
    assert as_json(caught[0])["who"] == "you"
    prefixed = JsonRenderer(prefixed=True)(caught[0])
    assert prefixed is not None
    assert prefixed.startswith(b"<4>{")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (TextShape.PLAIN, "2026-11-23T05:10:02.123Z info  wsdaemon.edge worker=2  listening on tcp:8080\n"),
        (TextShape.PREFIXED, "<6>wsdaemon.edge worker=2: listening on tcp:8080\n"),
    ],
)
def test_the_lines_of_a_worker_carry_its_number(shape: TextShape, expected: str) -> None:
    rendered = TextRenderer(shape, worker=2)(event())
    assert rendered is not None and rendered.decode() == expected


def test_the_number_of_the_worker_is_a_field_that_no_event_can_replace() -> None:
    rendered = JsonRenderer(worker=2)(event(worker=7))
    assert rendered is not None
    assert json.loads(rendered)["worker"] == 2
    assert as_json(event(worker=7))["worker"] == 7, "the supervisor speaks of its workers"


def test_lines_of_one_source_and_of_others_in_turns() -> None:
    render = TextRenderer(TextShape.PLAIN)
    kinds = [(LogLevel.info, "one"), (LogLevel.warn, "one"), (LogLevel.info, "two\n")]
    lines = [render(event(log_level=level, log_namespace=name)) for level, name in kinds * 2]
    assert lines[:3] == lines[3:]
    assert [line.split(b"  listening")[0].split(b" ", 1)[1] for line in lines[:3] if line] == [b"info  one", b"warn  one", b"info  two\\n"]


def test_sources_are_remembered_up_to_a_number() -> None:
    render = TextRenderer(TextShape.PLAIN)
    for number in range(SOURCES_REMEMBERED + 10):
        rendered = render(event(log_namespace=f"name{number}"))
        assert rendered is not None and b" name%d  " % number in rendered
    assert len(render._sources) == SOURCES_REMEMBERED


def test_a_record_is_the_whole_message() -> None:
    assert text(event("{record}", record="closed by hand")).endswith("  closed by hand\n")
    assert "closed\\n" in text(event("{record}", record="closed\n"))
    assert "could not be formatted" in text(event("{record}"))
    assert "could not be formatted" in text(event("{record}", record=Rude()))
