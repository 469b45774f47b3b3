"""The types of settings. An annotation from here decides how a field is read, checked, shown and described.

`bool`, `Literal[...]` and a `StrEnum` are used as they are; the rest are the names below. `get_form` finds the form of an annotation.
"""

from __future__ import annotations

import enum
import keyword
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args, get_origin

from wsdaemon.settings.addresses import Address, AddressForm, SystemdAddress, TcpAddress, UnixAddress
from wsdaemon.settings.form import (
    GIB,
    KIB,
    MIB,
    TIB,
    ChoiceForm,
    DurationForm,
    EnumForm,
    FlagForm,
    Form,
    ListForm,
    SizeForm,
    TokenForm,
    WholeForm,
    has_control_characters,
    refuse_untidy,
)
from wsdaemon.settings.paths import check_path
from wsdaemon.settings.problems import BadValue, did_you_mean
from wsdaemon.settings.text import byte_order_mark, first_line

__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "TIB",
    "Address",
    "AddressText",
    "App",
    "CloseCode",
    "Count",
    "Destination",
    "Directories",
    "Duration",
    "File",
    "Form",
    "LevelName",
    "Levels",
    "MountPaths",
    "PositiveCount",
    "PositiveDuration",
    "PositiveSize",
    "Reference",
    "Secret",
    "SecretFile",
    "Size",
    "SizeForm",
    "SystemdAddress",
    "TcpAddress",
    "Tokens",
    "UnixAddress",
    "WholeForm",
    "app_text",
    "get_form",
    "is_reference",
]

LevelName = Literal["debug", "info", "warn", "error", "critical"]

LARGEST_SECRET = 64 * KIB


@dataclass(frozen=True, slots=True)
class CloseCodeForm(Form[int]):
    """A close code that a server may send (RFC 6455 7.4.2 and the IANA registry)."""

    @property
    def expected(self) -> str:
        return "a close code: 1000 to 1003, 1007 to 1014 or 3000 to 4999"

    def parse(self, text: str) -> int:
        if re.fullmatch(r"[0-9]{4}", text, re.ASCII) is None:
            raise self.refusal()
        return self.accept(int(text))

    def accept(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refusal()
        if not (1000 <= value <= 1003 or 1007 <= value <= 1014 or 3000 <= value <= 4999):
            raise self.refusal()
        return value


@dataclass(frozen=True, slots=True)
class PathForm(Form[Path]):
    """A path, given as text or as anything with `__fspath__`."""

    noun: str = "a path"

    @property
    def expected(self) -> str:
        return self.noun

    def parse(self, text: str) -> Path:
        if not text:
            raise self.refusal()
        return Path(text)

    def accept(self, value: object) -> Path:
        if not isinstance(value, os.PathLike):
            raise self.refusal()
        return self.parse(os.fsdecode(value))

    def locate(self, value: Path, directory: Path) -> Path:
        located = directory / value
        refuse_untidy(str(located))
        return located


@dataclass(frozen=True, slots=True)
class FileForm(Form[Path | None]):
    """The path of a file, or None when it is left empty. The file is not opened here."""

    @property
    def expected(self) -> str:
        return "the path of a file, or nothing"

    def parse(self, text: str) -> Path | None:
        return PathForm().parse(text) if text else None

    def accept(self, value: object) -> Path | None:
        return None if value is None else PathForm(self.expected).accept(value)

    def locate(self, value: Path | None, directory: Path) -> Path | None:
        return None if value is None else PathForm().locate(value, directory)

    def show(self, value: Path | None) -> str:
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class DestinationForm(Form[str | Path]):
    """The log's destination: a word, or the path of a file. A path has a `/`, as in `./name`, so that a misspelt word is no file."""

    words: ClassVar[tuple[str, ...]] = ("auto", "stdout", "journal")

    @property
    def expected(self) -> str:
        return "auto, stdout, journal or the path of a file with a / in it"

    def parse(self, text: str) -> str | Path:
        if text.lower() in self.words:
            return text.lower()
        if "/" not in text or text.endswith("/"):
            raise self.refusal(did_you_mean(text, self.words))
        return Path(text)

    def accept(self, value: object) -> str | Path:
        if not isinstance(value, os.PathLike):
            raise self.refusal()
        return PathForm(self.expected).accept(value)

    def locate(self, value: str | Path, directory: Path) -> str | Path:
        return PathForm().locate(value, directory) if isinstance(value, Path) else value


@dataclass(frozen=True, slots=True)
class LevelsForm(Form[Mapping[str, str]]):
    """Levels of single log namespaces: `namespace=level` pairs, or in Python a mapping."""

    @property
    def expected(self) -> str:
        return "pairs such as myapp=warn, wsdaemon.wire=debug, with a level out of debug, info, warn, error and critical"

    def parse(self, text: str) -> Mapping[str, str]:
        pairs: dict[str, str] = {}
        for item in text.split(",") if text else ():
            namespace, equals, level = (part.strip() for part in item.partition("="))
            if not equals:
                raise self.refusal()
            if namespace in pairs:
                raise BadValue(f"expected each namespace only once; {namespace} is there twice")
            pairs[namespace] = level
        return self.accept(pairs)

    def accept(self, value: object) -> Mapping[str, str]:
        if not isinstance(value, Mapping):
            raise self.refusal()
        levels = get_args(LevelName)
        for namespace, level in value.items():
            if not isinstance(namespace, str) or re.fullmatch(r"\w+(\.\w+)*", namespace) is None:
                raise self.refusal()
            if not isinstance(level, str) or level.lower() not in levels:
                raise self.refusal(did_you_mean(str(level), levels))
        return {namespace: level.lower() for namespace, level in value.items()}

    def show(self, value: Mapping[str, str]) -> str:
        return ", ".join(f"{namespace}={level}" for namespace, level in value.items())


@dataclass(frozen=True, slots=True)
class MountPathForm(Form[str]):
    """The path pattern of a mount."""

    @property
    def expected(self) -> str:
        return "paths of mounts such as /chat"

    def parse(self, text: str) -> str:
        if not text.startswith("/"):
            raise self.refusal()
        return check_path(text)


def is_reference(text: str) -> bool:
    """Whether `text` reads like `module:function`, with dots allowed on both sides."""
    module, colon, attribute = text.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(name.isidentifier() and not keyword.iskeyword(name) for name in names)


def app_text(app: object) -> str:
    """An app as the INI file writes it: the given text, or the module and name of a Python object."""
    if isinstance(app, str):
        return app
    named = app if hasattr(app, "__qualname__") else type(app)
    return f"{named.__module__}:{getattr(named, '__qualname__', '')}"


@dataclass(frozen=True, slots=True)
class AppForm(Form[object]):
    """A built-in app's name, or `module:function`. In Python also the app itself: a callable, or an object with `open`."""

    @property
    def expected(self) -> str:
        return "a built-in app, module:function or module:Class"

    def parse(self, text: str) -> object:
        if not is_reference(text) and re.fullmatch(r"[a-z][a-z0-9_]*", text, re.ASCII) is None:
            raise self.refusal()
        return text

    def accept(self, value: object) -> object:
        if not callable(value) and not callable(getattr(value, "open", None)):
            raise self.refusal()
        return value

    def show(self, value: object) -> str:
        return app_text(value)


@dataclass(frozen=True, slots=True)
class ReferenceForm(Form[object]):
    """The user's own class: `module:Class`, or nothing. In Python also the class itself."""

    @property
    def expected(self) -> str:
        return "module:Class, or nothing"

    def parse(self, text: str) -> object:
        if text and not is_reference(text):
            raise self.refusal()
        return text or None

    def accept(self, value: object) -> object:
        if value is not None and not callable(value):
            raise self.refusal()
        return value

    def show(self, value: object) -> str:
        return "" if value is None else app_text(value)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret from a file. Only `reveal()` returns it; text and repr show the path of the file."""

    path: Path
    _text: str

    def reveal(self) -> str:
        """The secret."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({str(self.path)!r})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class SecretForm(Form[Secret | Path | None]):
    """A secret, given as the path of a file that holds it: UTF-8 text up to 64 KiB, without the line's end. Empty: no secret."""

    hidden: ClassVar[bool] = True

    @property
    def expected(self) -> str:
        return "the path of a file that holds the secret, or nothing"

    def parse(self, text: str) -> Secret | Path | None:
        return Path(text) if text else None

    def accept(self, value: object) -> Secret | Path | None:
        return value if value is None or isinstance(value, Secret) else PathForm(self.expected).accept(value)

    def locate(self, value: Secret | Path | None, directory: Path) -> Secret | Path | None:
        if not isinstance(value, Path):
            return value
        path = PathForm().locate(value, directory)
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_SECRET + 1)
        except (OSError, ValueError) as error:
            # Only the reason, because the error's own text has the path, and an operator may have written the secret there by mistake.
            reason = getattr(error, "strerror", None) or "it cannot be opened"
            raise BadValue(f"expected {self.expected}; the file cannot be read: {reason}") from None
        if (problem := byte_order_mark(content)) is not None:
            raise BadValue(f"expected {self.expected}; {problem}")
        try:
            text = first_line(content).decode("utf-8")
        except UnicodeDecodeError:
            raise BadValue(f"expected {self.expected}; the file is not UTF-8 text") from None
        if not text or has_control_characters(text) or len(content) > LARGEST_SECRET:
            raise BadValue(f"expected {self.expected}; the file must hold one line of up to 64KiB")
        return Secret(path, text)

    def show(self, value: Secret | Path | None) -> str:
        return "" if value is None else str(value.path if isinstance(value, Secret) else value)


Size: TypeAlias = Annotated[int, SizeForm()]
PositiveSize: TypeAlias = Annotated[int, SizeForm(minimum=1)]
Duration: TypeAlias = Annotated[float, DurationForm()]
PositiveDuration: TypeAlias = Annotated[float, DurationForm(zero=False)]
Count: TypeAlias = Annotated[int, WholeForm()]
PositiveCount: TypeAlias = Annotated[int, WholeForm(minimum=1)]
File: TypeAlias = Annotated[Path | None, FileForm()]
Directories: TypeAlias = Annotated[tuple[Path, ...], ListForm(PathForm("directories"))]
Tokens: TypeAlias = Annotated[tuple[str, ...], ListForm(TokenForm())]
MountPaths: TypeAlias = Annotated[tuple[str, ...], ListForm(MountPathForm())]
AddressText: TypeAlias = Annotated[Address, AddressForm()]
Destination: TypeAlias = Annotated[str | Path, DestinationForm()]
Levels: TypeAlias = Annotated[Mapping[str, str], LevelsForm()]
CloseCode: TypeAlias = Annotated[int, CloseCodeForm()]
App: TypeAlias = Annotated[object, AppForm()]
Reference: TypeAlias = Annotated[object, ReferenceForm()]
SecretFile: TypeAlias = Annotated[Secret | None, SecretForm()]


def get_form(annotation: object) -> Form[Any]:
    """The form of a field's annotation. Raises TypeError for an annotation without one: a mistake in a dataclass, not in a file."""
    if annotation is bool:
        return FlagForm()
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        return EnumForm(annotation)
    if get_origin(annotation) is Literal:
        return ChoiceForm(get_args(annotation))
    for extra in getattr(annotation, "__metadata__", ()):
        if isinstance(extra, Form):
            return extra
    raise TypeError(f"no form for the annotation {annotation!r}; take one from wsdaemon.settings.values")
