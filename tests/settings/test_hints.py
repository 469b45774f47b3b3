"""settings/hints.py: the ends of messages, each with the mistake that it is for. test_build.py has them in whole messages."""

from __future__ import annotations

import pytest

from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.hints import app_hint, comment_hint, first_on, home_of, name_problem, shown
from wsdaemon.settings.model import ListenerSettings, MountSettings
from wsdaemon.settings.schema import keys_of


@pytest.mark.parametrize(
    ("value", "hint"),
    [("10 ; at most", "; a comment needs a line of its own"), ("10", ""), ("ten # at most", ""), (10, "")],
)
def test_a_comment_behind_a_good_value(value: object, hint: str) -> None:
    assert comment_hint(value, keys_of(MountSettings)["max_fragments"]) == hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ecco", "; did you mean echo?"),
        ("echo   # ours", "; a comment needs a line of its own: did you mean echo?"),
        ("so so   # ours", "; a comment needs a line of its own"),
        ("good.chat", "; did you mean good:chat?"),
        ("chat.py", "; did you mean chat:function?"),
        ("???", ""),
    ],
)
def test_an_app_that_is_none(text: str, hint: str) -> None:
    assert app_hint(text, APP_OPTIONS) == hint


def test_a_value_is_shown_without_its_password() -> None:
    keys = keys_of(ListenerSettings)
    assert shown("http://me:secret@host/", keys["address"]) == "http://(hidden)@host/"


def test_where_a_name_stands_first() -> None:
    assert (first_on(None), first_on(7)) == ("", " (first on line 7)")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("daemon", None),
        ("listener:web", None),
        ("mount:/chat", None),
        ("listner:web", "unknown section; did you mean [listener:web]?"),
        ("mounts", "unknown section; did you mean [mount:PATH]?"),
        ("loging", "unknown section; did you mean [logging]?"),
        ("listener:a b", "expected [listener:NAME], with a name of up to 64 letters, digits, _ . and -"),
    ],
)
def test_names_of_sections(name: str, problem: str | None) -> None:
    assert name_problem(name) == problem


def test_every_other_name_is_told_which_there_are() -> None:
    assert "[daemon]" in str(name_problem("zebra")) and "[mount:PATH]" in str(name_problem("zebra"))
    assert "/" in str(name_problem("mount:chat"))


def test_a_key_of_another_section() -> None:
    assert home_of("on_message", {}) == "; expected it in [defaults] or [mount:PATH]"
    assert home_of("zebra", {}) == ""
    assert "[daemon]" in home_of("max_threads", {})
