"""Read the INI file and make settings of it.

The dialect is that of `configparser.RawConfigParser` with `=` as the only delimiter: `[section]`, `key = value`, comments (`#` or
`;`) on lines of their own, no interpolation. This module has a reader of its own, because RawConfigParser keeps no line
numbers for keys, stops at the first key or section that is given twice, and takes an indented line for more of the value above it.
Here an indented line is a problem. RawConfigParser reads every file that this reader accepts, with the same result.

The text is UTF-8 without a byte order mark, up to 1 MiB, with lines that end in LF or CRLF.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.build import UNREADABLE, Apps, Entry, Section, check
from wsdaemon.settings.form import BLANKS, MIB, has_control_characters
from wsdaemon.settings.model import Settings
from wsdaemon.settings.problems import Problem, SettingsError

__all__ = ["Problem", "SettingsError", "load", "read_sections"]

LARGEST_FILE = 1 * MIB
_HEADER = re.compile(r"\[([^\[\]]+)\]")
_KEY = re.compile(r"[a-z][a-z0-9_]*[ \t]*=")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def load(path: str | os.PathLike[str], apps: Apps = APP_OPTIONS) -> Settings:
    """The settings of an INI file. Relative paths in it start from its directory. Raises SettingsError with every problem."""
    settings, problems = read(path, apps)
    if settings is None or problems:
        raise SettingsError(problems)
    return settings


def read(path: str | os.PathLike[str], apps: Apps = APP_OPTIONS) -> tuple[Settings | None, list[Problem]]:
    """The settings of an INI file, and every problem.

    If there are problems, the settings are not to be served, but the files and modules that they name can be checked in the same
    pass. They are None if the file cannot be read.
    """
    source = os.fspath(path)
    problems: list[Problem] = []
    content = read_content(source, problems)
    return (None if content is None else parse(content, source, problems, apps)), problems


def parse(content: bytes, source: str, problems: list[Problem], apps: Apps = APP_OPTIONS, base: Path | None = None) -> Settings:
    """The settings of the content of the INI file `source`. Problems are added to `problems`, see read().

    Relative paths start from `base`; by default that is the file's directory.
    """
    return check(read_sections(content, source, problems), source, Path(source).parent if base is None else base, problems, apps)


def read_content(source: str, problems: list[Problem]) -> bytes | None:
    """The bytes of the file, or None and a problem."""
    try:
        with Path(source).open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        message = "no such file; expected an INI file"
    except IsADirectoryError:
        message = "this is a directory; expected an INI file"
    except OSError as error:
        message = f"the file cannot be read: {error.strerror}"
    except ValueError:
        message = "expected a path without NUL characters"
    else:
        if len(content) <= LARGEST_FILE:
            return content
        message = "expected an INI file of up to 1MiB"
    problems.append(Problem(source, None, None, None, None, message))
    return None


def read_sections(content: bytes, source: str, problems: list[Problem]) -> list[Section]:
    """The sections of a file's content, with line numbers. Problems of single lines are added to `problems`, and reading continues.

    Keys under a header that cannot be read are left out, because their section is unknown.
    """
    reader = _Reader(source, problems)
    if b"\0" in content:
        # UTF-16, or no text at all: one problem is clearer than one for each line.
        reader.line = content.count(b"\n", 0, content.index(b"\0")) + 1
        reader.report("NUL byte; expected a text file in UTF-8")
        return []
    if content.startswith(_BYTE_ORDER_MARK):
        reader.line = 1
        reader.report("the file starts with a byte order mark; expected plain UTF-8, saved without one")
        content = content.removeprefix(_BYTE_ORDER_MARK)
    for number, line in enumerate(content.split(b"\n"), start=1):
        reader.line = number
        reader.read(line.removesuffix(b"\r"))
    return [Section(name, tuple(entries), line) for name, line, entries in reader.sections if name is not None]


class _Reader:
    """The reader's state: the line, and the sections so far; the last one is open. The name None is an unreadable header."""

    def __init__(self, source: str, problems: list[Problem]) -> None:
        self.source = source
        self.problems = problems
        self.line = 0
        self.sections: list[tuple[str | None, int, list[Entry]]] = []

    def report(self, message: str, key: str | None = None, value: str | None = None) -> None:
        """Add a problem of this line."""
        section = self.sections[-1][0] if self.sections else None
        self.problems.append(Problem(self.source, self.line, section, key, value, message))

    def read(self, line: bytes) -> None:
        """Read one line, without its line end."""
        stripped = line.strip(b" \t")
        if not stripped:
            return
        try:
            text = stripped.decode("utf-8")
        except UnicodeDecodeError as error:
            self.broken(stripped, f"byte 0x{stripped[error.start]:02x} is not UTF-8; expected the file in UTF-8")
            return
        if has_control_characters(text.replace("\t", " ")):
            self.broken(stripped, "control character; expected plain text")
        elif text[0] in "#;":
            return
        elif line[:1] in (b" ", b"\t"):
            self.indented(text)
        elif text[0] == "[":
            self.header(text)
        else:
            self.entry(text)

    def indented(self, text: str) -> None:
        """A line with blanks at its start is a problem, but its section or its key is not missing, and is checked like any other."""
        self.report("expected no blanks at the start of a line; a value ends with its own line")
        if _HEADER.fullmatch(text):
            self.header(text)
        elif self.sections and _KEY.match(text):
            self.entry(text)

    def broken(self, stripped: bytes, message: str) -> None:
        """A line that cannot be read. If it looks like a header, the keys below it belong to no known section."""
        if stripped.startswith(b"["):
            self.sections.append((None, self.line, []))
        self.report(message)
        self.unreadable(stripped.decode("ascii", "replace"))

    def unreadable(self, text: str) -> None:
        """Note the key of a line whose value cannot be read: it is not missing."""
        if self.sections and (found := re.match(r"[a-z][a-z0-9_]*", text)):
            self.sections[-1][2].append(Entry(found[0], UNREADABLE, self.line))

    def header(self, text: str) -> None:
        """A line that starts with a bracket."""
        if text.endswith("]") and len(text) > 2:
            self.sections.append((text[1:-1], self.line, []))
            return
        self.sections.append((None, self.line, []))
        self.report("expected [section] alone on its line; a comment needs a line of its own", key=text)
        if found := _HEADER.match(text):  # its keys are checked, and it is not missing where others name it
            self.sections.append((found[1], self.line, []))

    def entry(self, text: str) -> None:
        """Any other line: a key and its value. The first `=` separates them."""
        key, equals, value = text.partition("=")
        key, value = key.rstrip(BLANKS), value.lstrip(BLANKS)
        if not equals:
            self.report("expected key = value", key=key)
            self.unreadable(text)
        elif not key:
            self.report("expected key = value; the key before the = is missing")
        elif not self.sections:
            self.report("expected a [section] before the first key", key=key)
        else:
            self.sections[-1][2].append(Entry(key, value, self.line))
