"""settings/problems.py: problems in words."""

from __future__ import annotations

from wsdaemon.settings.problems import Problem, SettingsError, closest, did_you_mean, joined, printable


def test_a_problem_in_words() -> None:
    problem = Problem("etc/ws.ini", 14, "mount:/chat", "max_message", "1 potato", "expected a size such as 64KiB or 1MiB")
    assert str(problem) == "etc/ws.ini:14: [mount:/chat] max_message = 1 potato: expected a size such as 64KiB or 1MiB"
    assert str(Problem("x", None, None, None, None, "no such file")) == "x: no such file"
    assert str(Problem("x", 1, "daemon", "retry_after", "", "expected")) == "x:1: [daemon] retry_after = (empty): expected"


def test_what_does_not_print_is_escaped() -> None:
    assert printable("a\x1b[31m\u202e\ud800é") == "a\\x1b[31m\\u202e\\ud800é"
    assert printable("a" * 201) == "a" * 200 + "..."


def test_the_closest_word_is_found_whatever_its_case_and_dashes() -> None:
    words = ("max_message", "max_fragments")
    assert closest("Max-Mesage", words) == "max_message"
    assert closest("origins", words) is None
    assert did_you_mean("max-mesage", words) == "; did you mean max_message?"
    assert did_you_mean("max_mesage", words, "[{}]") == "; did you mean [max_message]?"
    assert did_you_mean("x", words) == ""


def test_an_error_has_a_line_for_each_problem_in_the_order_of_the_file() -> None:
    def at(line: int | None) -> Problem:
        return Problem("ws.ini", line, None, None, None, "wrong")

    error = SettingsError([at(7), at(2), at(None)])
    assert str(error) == "ws.ini: wrong\nws.ini:2: wrong\nws.ini:7: wrong"
    assert [problem.line for problem in error.problems] == [None, 2, 7]


def test_a_value_has_one_line_though_two_steps_refuse_it() -> None:
    weak = Problem("ws.ini", 7, "admin", "token_file", "(hidden)", "too short")
    again = Problem("ws.ini", 7, "admin", "token_file", None, "./token: too short")
    other = Problem("ws.ini", 9, "admin", None, None, "busy")
    assert joined([weak], [again, other]) == [weak, other]
    assert joined([other], [other, again]) == [other, other, again], "two problems of a section may differ"
