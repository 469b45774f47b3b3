"""The options of the app process, and the forms of their values."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from wsdaemon.settings.form import Form, WholeForm, refuse_untidy
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import MIB, CloseCodeForm, Count, Duration, File, PositiveCount, PositiveDuration, PositiveSize, Size

DESCRIPTORS_OF_A_PROGRAM = 4
"""Three pipes, and the one that tells of its end."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Command:
    """A command line. `text` is the line as given; `argv` are its words, as a shell splits them; `directory` is the INI file's."""

    text: str
    argv: tuple[str, ...]
    directory: Path | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class CommandForm(Form[Command | None]):
    """A command line with quotes as in a shell. In Python also a list of words. Empty: none."""

    @property
    def expected(self) -> str:
        return "a command line such as /usr/bin/tail -f 'my file', with quotes as in a shell"

    def parse(self, text: str) -> Command | None:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise BadValue(f"expected {self.expected}; {str(error).lower()}") from None
        if text and (not words or not words[0]):
            raise self.refusal()
        return Command(text, tuple(words)) if text else None

    def accept(self, value: object) -> Command | None:
        if value is None or isinstance(value, Command):
            return value
        if not isinstance(value, list | tuple) or not value or not all(isinstance(word, str) for word in value):
            raise self.refusal()
        text = shlex.join(value)
        refuse_untidy(text)
        return self.parse(text)

    def locate(self, value: Command | None, directory: Path) -> Command | None:
        return None if value is None else replace(value, directory=directory)

    def show(self, value: Command | None) -> str:
        return "" if value is None else value.text


@dataclass(frozen=True, slots=True)
class VariablesForm(Form[Mapping[str, str | None]]):
    """Environment variables: `NAME=value` sets one, `NAME` passes the daemon's on (None). In Python also a mapping."""

    @property
    def expected(self) -> str:
        return 'variables such as LANG, MODE=fast, "LIST=a,b", with commas between them'

    def parse(self, text: str) -> Mapping[str, str | None]:
        pairs: dict[str, str | None] = {}
        for item in next(csv.reader([text], skipinitialspace=True, strict=True)) if text else ():
            name, equals, value = item.partition("=")
            if name.strip() in pairs:
                raise BadValue(f"expected each variable only once; {name.strip()} is there twice")
            pairs[name.strip()] = value if equals else None
        return self.accept(pairs)

    def accept(self, value: object) -> Mapping[str, str | None]:
        if not isinstance(value, Mapping):
            raise self.refusal()
        for name, text in value.items():
            if not isinstance(name, str) or not VARIABLE.fullmatch(name) or not isinstance(text, str | None):
                raise self.refusal()
            if text is not None:
                refuse_untidy(text)
        return dict(value)

    def show(self, value: Mapping[str, str | None]) -> str:
        items = [name if text is None else f"{name}={text}" for name, text in value.items()]
        return ", ".join('"' + item.replace('"', '""') + '"' if re.search(r'[",]', item) else item for item in items)


@dataclass(frozen=True, slots=True)
class ExitCodesForm(Form[Mapping[int, int]]):
    """Close codes by exit status: `3=4003, 64=1008`. In Python also a mapping of whole numbers."""

    @property
    def expected(self) -> str:
        return "exit statuses and their close codes, such as 3=4003, 64=1008"

    def parse(self, text: str) -> Mapping[int, int]:
        pairs: dict[int, int] = {}
        for item in text.split(",") if text else ():
            match = re.fullmatch(r"\s*([0-9]{1,3})\s*=\s*([0-9]{4})\s*", item, re.ASCII)
            if match is None:
                raise self.refusal()
            if int(match[1]) in pairs:
                raise BadValue(f"expected each exit status only once; {match[1]} is there twice")
            pairs[int(match[1])] = int(match[2])
        return self.accept(pairs)

    def accept(self, value: object) -> Mapping[int, int]:
        if not isinstance(value, Mapping):
            raise self.refusal()
        return {WholeForm(0, 255).accept(status): CloseCodeForm().accept(code) for status, code in value.items()}

    def show(self, value: Mapping[int, int]) -> str:
        return ", ".join(f"{status}={code}" for status, code in value.items())


@dataclass(frozen=True, slots=True)
class RefuseStatusForm(Form[int]):
    """The status of an HTTP answer that refuses a client, or 0."""

    @property
    def expected(self) -> str:
        return "an HTTP status from 400 to 599, or 0"

    def parse(self, text: str) -> int:
        if re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) is None:
            raise self.refusal()
        return self.accept(int(text))

    def accept(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or (value and not 400 <= value <= 599):
            raise self.refusal()
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessOptions(SectionSettings):
    """The options of the app process."""

    command: Annotated[Command | None, CommandForm()] = field(
        default=None,
        metadata=explain(
            "The program that runs for each connection. Its words are split as a shell splits them, but no shell runs. A program without "
            "a / in its name is searched in PATH; a relative path starts from this file."
        ),
    )
    shell: bool = field(default=False, metadata=explain("Let /bin/sh run the command, so that pipes, redirections and variables work."))
    directory: File = field(
        default=None, metadata=explain("The program's working directory; relative to this file. Empty: the directory of this file.")
    )
    environment: Annotated[Mapping[str, str | None], VariablesForm()] = field(
        default_factory=dict,
        metadata=explain(
            "Environment variables of the program, besides PATH and those of CGI. NAME=value sets a variable; NAME alone passes the "
            "daemon's on. A pair with a comma in it stands in double quotes."
        ),
    )
    framing: Literal["lines", "binary", "netstring", "json"] = field(
        default="lines",
        metadata=explain(
            "How messages stand on the program's standard input and output. lines: one line for each message. binary: bytes without "
            "any mark; each piece of output that is read is a message. netstring: LENGTH:BYTES, for each message. json: one JSON object in "
            "a line for each message, with text, binary (base64) or close."
        ),
    )
    newlines: Literal["refuse", "escape"] = field(
        default="refuse",
        metadata=explain(
            "With framing = lines: the policy for a message with a line feed or carriage return in it, which the program would take for "
            "two messages. refuse: the connection is closed with 1007. escape: the program gets \\n and \\r, and \\\\ for a backslash."
        ),
    )
    output: Literal["auto", "text", "binary"] = field(
        default="auto",
        metadata=explain(
            "The type of the messages that the program's output makes. auto: text with framing = lines, else binary. framing = json says "
            "it in each message."
        ),
    )
    max_output: PositiveSize = field(
        default=1 * MIB,
        metadata=explain(
            "The largest message that the program may write. A larger one ends the program, and closes the connection with 1011."
        ),
    )
    max_processes: PositiveCount = field(
        default=100,
        metadata=explain(
            "How many programs of this mount may run at once, those included whose connections are over. Beyond that a new client is "
            "answered 503."
        ),
    )
    refuse_status: Annotated[int, RefuseStatusForm()] = field(
        default=0,
        metadata=explain(
            "Let the program refuse a client: if it ends before it has written anything, and its exit status is not 0, the client is "
            "answered this HTTP status. The client waits for the program's first output. 0: each client is let in at once."
        ),
    )
    start_timeout: PositiveDuration = field(
        default=2.0,
        metadata=explain(
            "With refuse_status: how long a client waits for the program's first output. If the program still runs then, the client is "
            "let in."
        ),
    )
    stop_timeout: PositiveDuration = field(
        default=2.0,
        metadata=explain(
            "How long the program may take to end when its connection is over and its standard input is closed. Then its process group "
            "gets SIGTERM, and after the same time again SIGKILL."
        ),
    )
    exit_codes: Annotated[Mapping[int, int], ExitCodesForm()] = field(
        default_factory=dict,
        metadata=explain(
            "Close codes for exit statuses of the program. Other statuses: 0 closes the connection with 1000, and each other one, or a "
            "signal, with 1011."
        ),
    )
    max_cpu: Duration = field(
        default=0.0, metadata=explain("The processor time of one program, in whole seconds, rounded up (RLIMIT_CPU). 0: no limit.")
    )
    max_memory: Size = field(default=0, metadata=explain("The address space of one program (RLIMIT_AS). 0: no limit."))
    max_files: Count = field(
        default=0,
        metadata=explain("How many files one program may have open (RLIMIT_NOFILE). 0: up to 1024, which the program may raise itself."),
    )
    shared: bool = field(
        default=False,
        metadata=explain(
            "Run one program for all connections instead of one for each. It reads and writes one JSON object in a line, with the id of "
            "the connection. If it ends, its connections are closed with 1012, and it is started again, after up to 30s."
        ),
    )

    def descriptors(self, connections: int) -> int:
        return DESCRIPTORS_OF_A_PROGRAM * (1 if self.shared else min(self.max_processes, connections))

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.command is None:
            yield ("command",), "missing key; expected a command line such as /usr/bin/tail -f 'my file'"
        if self.shared and self.refuse_status:
            yield ("refuse_status", "shared"), "expected 0 with shared = on, because that program starts before its clients come"
        if self.shared and self.framing not in ("lines", "json"):
            yield ("framing", "shared"), "expected json, or nothing, with shared = on"
        if self.output != "auto" and (self.framing == "json" or self.shared):
            yield ("output", "framing"), "expected auto, because each JSON object says its type"
