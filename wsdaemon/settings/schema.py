"""The keys of a settings dataclass, from its fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, get_type_hints

from wsdaemon.settings.values import Form, get_form


class SectionSettings:
    """The base of every dataclass for a section or for an app's options."""

    __slots__ = ()

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Keys that contradict each other, and a message. The problem is reported on the line of the first key.

        Override it for checks that need more than one value.
        """
        return ()

    def descriptors(self, connections: int) -> int:
        """The most descriptors that an app with these options needs for so many connections, besides those of the connections."""
        return 0


def explain(help_text: str, *, inherited: bool = True, example: str = "", last: bool = False) -> Mapping[str, object]:
    """The metadata that makes a dataclass field a key of the INI file.

    `help_text` goes into the reference INI. `inherited` says whether a mount's key may also stand in [defaults]. `example` is
    the value that the reference shows for a key without a default. `last`: the key stands behind those of classes that inherit it.
    """
    return {"help": help_text, "inherited": inherited, "example": example, "last": last}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section: its form, its help, and its default (MISSING when the key is required)."""

    name: str
    form: Form[Any]
    default: object
    help: str
    inherited: bool
    example: str

    @property
    def required(self) -> bool:
        """Whether the section must have this key."""
        return self.default is MISSING


def keys_of(settings_class: type) -> dict[str, Key]:
    """The keys of a settings dataclass by name, in the order of its fields, the `last` at the end. A key has the metadata of `explain`."""
    annotations = get_type_hints(settings_class, include_extras=True)
    keys: dict[str, Key] = {}
    for field in sorted(fields(settings_class), key=lambda each: bool(each.metadata.get("last"))):
        if "help" in field.metadata:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            told = {name: value for name, value in field.metadata.items() if name != "last"}
            keys[field.name] = Key(name=field.name, form=get_form(annotations[field.name]), default=default, **told)
    return keys
