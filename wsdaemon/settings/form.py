"""The forms of values: the base class, and the forms that are not specific to wsdaemon.

A form turns text into a value and back. It hangs on the annotation of a dataclass field
(`Annotated[int, SizeForm()]`), so the annotation alone chooses how the field is read, checked, shown and described.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from wsdaemon.settings.problems import BadValue, did_you_mean

T = TypeVar("T")

BLANKS = " \t"
"""The characters that are stripped around a key and a value. Other Unicode spaces are part of the value."""

MOST = 1_000_000_000
"""The largest count."""

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

SIZE_UNITS = {"": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
DURATION_UNITS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)}
SHORTEST_DURATION = 0.001
LONGEST_DURATION = 365 * 86400.0

_SIZE = re.compile(r"([0-9]{1,15})([KMGT]iB)?", re.ASCII)
_ALMOST_SIZE = re.compile(r"([0-9]{1,15})\s*([kmgt])?(?:i?b)?(?:ytes?)?", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,30})?)(ms|[smhd])", re.ASCII)
_ALMOST_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,30})?)\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_WORDS_OF_DURATIONS = {
    "ms": ("msec", "msecs", "milli", "millis", "millisecond", "milliseconds"),
    "s": ("", "sec", "secs", "second", "seconds"),
    "m": ("min", "mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
    "w": ("week", "weeks"),
    "y": ("yr", "yrs", "year", "years"),
}
_LONGER_UNITS = {"w": 7, "y": 365}
"""Days of units that people write and durations do not have."""


def has_control_characters(text: str) -> bool:
    """Whether `text` has control characters (C0, DEL, C1), line or paragraph separators, or lone surrogates."""
    return any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in text)


def refuse_untidy(text: str) -> None:
    """Refuse text that does not fit on one line of the INI file: control characters, or blanks at its ends."""
    if has_control_characters(text):
        raise BadValue("expected text without control characters")
    if text != text.strip(BLANKS):
        raise BadValue("expected text without blanks at its ends")


class Form(Generic[T]):
    """One form of value. A new form defines `expected` and `parse`, and overrides the rest if text alone is not enough."""

    __slots__ = ()

    hidden: ClassVar[bool] = False
    """Whether the given value must never be shown, not even in the message that refuses it."""

    @property
    def expected(self) -> str:
        """The form in words, to follow "expected"; also printed in the reference INI."""
        raise NotImplementedError

    def parse(self, text: str) -> T:
        """The value of `text`, which has no blanks around it and no control characters. Raises BadValue."""
        raise NotImplementedError

    def accept(self, value: object) -> T:
        """The value for a Python value that is not a `str`. Raises BadValue."""
        raise self.refusal()

    def convert(self, value: object) -> T:
        """The value for a given text or Python value. Raises BadValue."""
        if not isinstance(value, str):
            return self.accept(value)
        text = value.strip(BLANKS)
        refuse_untidy(text)
        return self.parse(text)

    def locate(self, value: T, directory: Path) -> T:
        """The value with its relative paths made absolute, starting from `directory`. Raises BadValue."""
        return value

    def show(self, value: T) -> str:
        """The text of a value; `parse` gives the same value back. Never the text of a secret."""
        return str(value)

    def refusal(self, hint: str = "") -> BadValue:
        """The error that names the expected form; `hint` may add a "; did you mean ...?"."""
        return BadValue(f"expected {self.expected}{hint}")


def _whole(value: object) -> int | None:
    """A Python int that is not a bool: `max_connections=True` is a mistake, not a 1."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class WholeForm(Form[int]):
    """A whole number with both ends included: a count, a level."""

    minimum: int = 0
    maximum: int = MOST

    @property
    def expected(self) -> str:
        return f"a whole number from {self.minimum} to {self.maximum}"

    def parse(self, text: str) -> int:
        if re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) is None:
            raise self.refusal()
        return self.accept(int(text))

    def accept(self, value: object) -> int:
        number = _whole(value)
        if number is None or not self.minimum <= number <= self.maximum:
            raise self.refusal()
        return number


@dataclass(frozen=True, slots=True)
class SizeForm(Form[int]):
    """A size in bytes: a whole number, alone or with KiB, MiB, GiB or TiB (powers of 1024)."""

    minimum: int = 0
    maximum: int = TIB

    @property
    def expected(self) -> str:
        return "a size such as 64KiB or 1MiB"

    def parse(self, text: str) -> int:
        match = _SIZE.fullmatch(text)
        if match is None:
            almost = _ALMOST_SIZE.fullmatch(text)
            unit = "" if almost is None or almost[2] is None else almost[2].upper() + "iB"
            raise self.refusal("" if almost is None else f"; did you mean {almost[1]}{unit}?")
        return self.accept(int(match[1]) * SIZE_UNITS[match[2] or ""])

    def accept(self, value: object) -> int:
        number = _whole(value)
        if number is None:
            raise self.refusal()
        if not self.minimum <= number <= self.maximum:
            raise BadValue(f"expected a size from {self.show(self.minimum)} to {self.show(self.maximum)}")
        return number

    def show(self, value: int) -> str:
        unit = next(unit for unit in reversed(SIZE_UNITS) if value % SIZE_UNITS[unit] == 0 and (value or not unit))
        return f"{value // SIZE_UNITS[unit]}{unit}"


def _duration_hint(text: str) -> str:
    """The end of a message: the duration that `text` most likely means, or nothing."""
    almost = _ALMOST_DURATION.fullmatch(text)
    units = [] if almost is None else [unit for unit, words in _WORDS_OF_DURATIONS.items() if almost[2].lower() in (unit, *words)]
    if almost is None or not units:
        return ""
    amount, unit = almost[1], units[0]
    if unit in _LONGER_UNITS:
        days = Fraction(amount) * _LONGER_UNITS[unit]
        if days * 86400 > LONGEST_DURATION:
            return "; the longest is 365d"
        return f"; did you mean {days}d?" if days.denominator == 1 else ""
    return f"; did you mean {amount}{unit}?"


@dataclass(frozen=True, slots=True)
class DurationForm(Form[float]):
    """A duration in seconds, written with a unit (ms, s, m, h, d), from 1ms to 365d. `zero`: whether 0 is allowed; it needs no unit.

    `shortest` is the shortest one in seconds, if 1ms would make no sense.
    """

    zero: bool = True
    shortest: float = SHORTEST_DURATION

    @property
    def expected(self) -> str:
        return "a duration such as 500ms, 30s or 5m" + (", or 0" if self.zero else "")

    def parse(self, text: str) -> float:
        match = _DURATION.fullmatch(text)
        if match is not None:
            return self.accept(float(Fraction(match[1]) * DURATION_UNITS[match[2]]))
        if text == "0":
            return self.accept(0)
        raise self.refusal(_duration_hint(text))

    def accept(self, value: object) -> float:
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise self.refusal()
        if value == 0 and self.zero:
            return 0.0
        # Compared before float(), which raises on the largest ints. The rule above refuses nan.
        if not self.shortest <= value <= LONGEST_DURATION:
            raise BadValue(f"expected a duration from {self.show(self.shortest)} to 365d{', or 0' if self.zero else ''}")
        return float(value)

    def show(self, value: float) -> str:
        exact = Fraction(repr(float(value)))
        if not exact:
            return "0s"
        for unit in reversed(DURATION_UNITS):
            if (exact / DURATION_UNITS[unit]).denominator == 1:
                return f"{exact / DURATION_UNITS[unit]}{unit}"
        return f"{Decimal(repr(float(value))):f}s"


@dataclass(frozen=True, slots=True)
class RangeForm(Form[tuple[float, float]]):
    """Two durations in seconds, the shorter one first: `1s-30s`. `shortest` is that of both, in seconds."""

    shortest: float = SHORTEST_DURATION

    @property
    def expected(self) -> str:
        return "a range of durations such as 1s-30s"

    def parse(self, text: str) -> tuple[float, float]:
        first, dash, most = text.partition("-")
        if not dash:
            raise self.refusal()
        return self.accept((first, most))

    def accept(self, value: object) -> tuple[float, float]:
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise self.refusal()
        duration = DurationForm(zero=False, shortest=self.shortest)
        first, most = duration.convert(value[0]), duration.convert(value[1])
        if first > most:
            raise BadValue("expected the shorter duration first, as in 1s-30s")
        return first, most

    def show(self, value: tuple[float, float]) -> str:
        duration = DurationForm()
        return f"{duration.show(value[0])}-{duration.show(value[1])}"


@dataclass(frozen=True, slots=True)
class FlagForm(Form[bool]):
    """on or off; yes, no, true and false are understood too. Case makes no difference."""

    @property
    def expected(self) -> str:
        return "on or off"

    def parse(self, text: str) -> bool:
        words = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}
        word = text.lower()
        if word not in words:
            raise self.refusal(did_you_mean(word, words) if len(word) > 1 else "")
        return words[word]

    def accept(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise self.refusal()
        return value

    def show(self, value: bool) -> str:
        return "on" if value else "off"


@dataclass(frozen=True, slots=True)
class ChoiceForm(Form[str]):
    """One of a few words. Case makes no difference; the value is in lower case. A field annotated `Literal[...]` has this form."""

    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return f"{', '.join(self.words[:-1])} or {self.words[-1]}"

    def parse(self, text: str) -> str:
        if text.lower() not in self.words:
            raise self.refusal(did_you_mean(text, self.words))
        return text.lower()


@dataclass(frozen=True, slots=True)
class EnumForm(Form[enum.StrEnum]):
    """A member of an enum whose values are words. Case makes no difference. A field annotated with such an enum has this form."""

    members: type[enum.StrEnum]

    @property
    def expected(self) -> str:
        return ChoiceForm(self.words).expected

    @property
    def words(self) -> tuple[str, ...]:
        return tuple([member.value for member in self.members])

    def parse(self, text: str) -> enum.StrEnum:
        return self.members(ChoiceForm(self.words).parse(text))


@dataclass(frozen=True, slots=True)
class TokenForm(Form[str]):
    """A token of HTTP (RFC 9110 5.6.2), such as the name of a subprotocol."""

    @property
    def expected(self) -> str:
        return "names made of letters, digits and !#$%&'*+-.^_`|~"

    def parse(self, text: str) -> str:
        if re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", text, re.ASCII) is None:
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True)
class ListForm(Form[tuple[T, ...]]):
    """Values of one form with commas between them, none of them twice. Empty text is the empty list. In Python also a list or tuple."""

    item: Form[T]

    @property
    def expected(self) -> str:
        return f"{self.item.expected}, with commas between them"

    def parse(self, text: str) -> tuple[T, ...]:
        return self.accept(text.split(",") if text else ())

    def accept(self, value: object) -> tuple[T, ...]:
        if not isinstance(value, list | tuple):
            raise self.refusal()
        items: list[T] = []
        for given in value:
            item = self.item.convert(given)
            self._check(item)
            if item in items:
                raise BadValue(f"expected each only once; {self.item.show(item)} is there twice")
            items.append(item)
        return tuple(items)

    def locate(self, value: tuple[T, ...], directory: Path) -> tuple[T, ...]:
        located = tuple(self.item.locate(item, directory) for item in value)
        for item in located:
            self._check(item)
        return located

    def show(self, value: tuple[T, ...]) -> str:
        return ", ".join(self.item.show(item) for item in value)

    def _check(self, item: T) -> None:
        if "," in self.item.show(item) or not self.item.show(item):
            raise self.refusal()
