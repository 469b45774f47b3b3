"""settings/process.py: commands, variables, exit codes, and the options that contradict each other."""

from __future__ import annotations

import pytest

from tests.support.forms import HERE, refused
from wsdaemon.settings.build import build, section
from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import SettingsError
from wsdaemon.settings.process import Command, CommandForm, ExitCodesForm, ProcessOptions, RefuseStatusForm, VariablesForm


def options(**values: object) -> ProcessOptions:
    sections = [section("listener:a", address="tcp:0"), section("mount:/p", app="process", **values)]
    made = build(sections, "test", HERE).mounts[0].options
    assert isinstance(made, ProcessOptions)
    return made


def test_the_defaults() -> None:
    made = options(command="cat -n")
    assert made.command is not None
    assert (made.command.argv, made.command.directory) == (("cat", "-n"), HERE)
    assert (made.framing, made.max_processes, made.shell, made.shared, made.refuse_status) == ("lines", 100, False, False, 0)


def test_descriptors() -> None:
    assert options(command="cat").descriptors(10_000) == 400
    assert options(command="cat").descriptors(10) == 40
    assert options(command="cat", shared=True).descriptors(10_000) == 4


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("tail -f 'my file'", ("tail", "-f", "my file")),
        ('say "it\'s" a\\ b ""', ("say", "it's", "a b", "")),
        ("echo $HOME *.txt ; rm x", ("echo", "$HOME", "*.txt", ";", "rm", "x")),
        ("a # b", ("a", "#", "b")),
    ],
)
def test_a_command_is_split_as_a_shell_splits_it(text: str, argv: tuple[str, ...]) -> None:
    made = CommandForm().convert(text)
    assert made == Command(text, argv)
    assert CommandForm().show(made) == text


def test_a_command_as_words() -> None:
    made = CommandForm().convert(["tail", "-f", "my file"])
    assert made == Command("tail -f 'my file'", ("tail", "-f", "my file"))
    assert CommandForm().convert(made) == made
    assert CommandForm().convert("") is None
    assert CommandForm().show(None) == ""


@pytest.mark.parametrize("value", ["cat 'x", "cat \\", "''", [], [1], 7, ["a\nb"]])
def test_commands_that_are_refused(value: object) -> None:
    assert refused(CommandForm(), value).startswith("expected ")


def test_variables() -> None:
    form = VariablesForm()
    made = form.convert('LANG, MODE=fast, "LIST=a,b", EMPTY=, "QUOTED=say ""x"""')
    assert made == {"LANG": None, "MODE": "fast", "LIST": "a,b", "EMPTY": "", "QUOTED": 'say "x"'}
    assert form.convert(form.show(made)) == made
    assert form.convert({"A": "1", "B": None}) == {"A": "1", "B": None}
    assert form.convert("") == {}


@pytest.mark.parametrize("value", ["A=1, A=2", "1A=x", "=x", "A B=1", 5, {"A": 1}, {1: "a"}, {"A": "x\ny"}, "A=1,,B=2"])
def test_variables_that_are_refused(value: object) -> None:
    assert refused(VariablesForm(), value).startswith("expected ")


def test_exit_codes() -> None:
    form = ExitCodesForm()
    made = form.convert("3=4003, 64 = 1008")
    assert made == {3: 4003, 64: 1008}
    assert form.convert(form.show(made)) == made
    assert form.convert({}) == {}


@pytest.mark.parametrize("value", ["3", "256=4000", "1=1005", "1=999", "1=4000, 1=4001", 3, {1: 1006}, {True: 4000}])
def test_exit_codes_that_are_refused(value: object) -> None:
    assert refused(ExitCodesForm(), value).startswith("expected ")


@pytest.mark.parametrize("value", ["200", "399", "600", "x", True, 1.5])
def test_refuse_status(value: object) -> None:
    form: Form[int] = RefuseStatusForm()
    assert [form.convert("403"), form.convert(0), form.convert("503")] == [403, 0, 503]
    assert refused(form, value) == "expected an HTTP status from 400 to 599, or 0"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "command: missing key; expected a command line"),
        ({"command": "cat", "shared": True, "refuse_status": 403}, "refuse_status = 403: expected 0 with shared = on"),
        ({"command": "cat", "shared": True, "framing": "binary"}, "framing = binary: expected json, or nothing"),
        ({"command": "cat", "framing": "json", "output": "text"}, "output = text: expected auto"),
    ],
)
def test_options_that_contradict_each_other(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        options(**values)
    assert message in str(caught.value)
