"""Problems in settings: the place, the given value and the expected form of each."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN_CHARACTERS = 200
"""A longer value is cut to this many characters when it is shown."""


class BadValue(ValueError):
    """A form refuses a value. The text is the message for the operator, such as "expected on or off"."""


def printable(text: str) -> str:
    """`text` on one line, cut to SHOWN_CHARACTERS, with unprintable characters as escapes: safe for a terminal and a log."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in cut)


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to `word`, or None. Case, `-` and `_` make no difference."""
    plain = {candidate.lower().replace("-", "_"): candidate for candidate in candidates}
    found = difflib.get_close_matches(word.lower().replace("-", "_"), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def did_you_mean(word: str, candidates: Iterable[str], around: str = "{}") -> str:
    """The end of a message: "; did you mean X?", or nothing if no candidate is close. `around` formats the candidate."""
    found = closest(word, candidates)
    return f"; did you mean {around.format(found)}?" if found is not None else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem. `line` counts from 1 and is None for settings made in Python; the other fields are None if they do not apply.

    `value` is the value as it was given (for secrets it says only "(hidden)"); `message` names the form expected.
    """

    source: str
    line: int | None
    section: str | None
    key: str | None
    value: str | None
    message: str

    def __str__(self) -> str:
        where = self.source if self.line is None else f"{self.source}:{self.line}"
        subject = [] if self.section is None else [f"[{printable(self.section)}]"]
        if self.key is not None:
            subject.append(printable(self.key))
        if self.value is not None:
            subject.append(f"= {printable(self.value) or '(empty)'}")
        return ": ".join(part for part in (printable(where), " ".join(subject), self.message) if part)


def joined(told: Sequence[Problem], found: Iterable[Problem]) -> list[Problem]:
    """Both, without problems of `found` at a key of which `told` has one: two lines about one value would be one too many."""
    keys = {(problem.section, problem.key) for problem in told if problem.key is not None}
    return [*told, *(problem for problem in found if (problem.section, problem.key) not in keys)]


class SettingsError(Exception):
    """The settings cannot be used. `problems` has every problem, in the order of their lines; `str()` has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)
