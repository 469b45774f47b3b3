"""wsdaemon/options.py, the types of the options that Python code may give, says what the settings say.

`python -m tests.test_options` writes it anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import wsdaemon.options
from wsdaemon.settings.access import AccessFormatForm
from wsdaemon.settings.addresses import AddressForm
from wsdaemon.settings.admin import AdminSettings
from wsdaemon.settings.apps import APP_OPTIONS
from wsdaemon.settings.asgi import ApplicationForm
from wsdaemon.settings.control import ControlForm
from wsdaemon.settings.daemon import DaemonSettings, LoggingSettings
from wsdaemon.settings.form import ChoiceForm, DurationForm, EnumForm, FlagForm, Form, ListForm, RangeForm, SizeForm, WholeForm
from wsdaemon.settings.model import ListenerSettings, MountSettings
from wsdaemon.settings.process import CommandForm, ExitCodesForm, RefuseStatusForm, VariablesForm
from wsdaemon.settings.rooms import HooksForm, RegularExpressionForm
from wsdaemon.settings.schema import keys_of
from wsdaemon.settings.targets import ServerNameForm
from wsdaemon.settings.values import CloseCodeForm, DestinationForm, FileForm, LevelsForm, PathForm, ReferenceForm, SecretForm
from wsdaemon.settings.workers import WorkersForm

TARGET = Path(wsdaemon.options.__file__)

HEAD = '''\
"""The types of the options that WebSocketServer, route() and mount() take. Their meaning is that of the INI file's keys.

A test makes this file from the settings: `python -m tests.test_options` writes it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from re import Pattern
from typing import Any, Literal, TypedDict

from .apps.rooms.hooks import Hooks
'''

SIMPLE: Mapping[type[Form[Any]], str] = {
    WholeForm: "int",
    WorkersForm: "int | str | None",
    CloseCodeForm: "int",
    SizeForm: "int | str",
    DurationForm: "float | str | timedelta",
    RangeForm: "str | tuple[float, float]",
    FlagForm: "bool",
    FileForm: "str | PathLike[str] | None",
    SecretForm: "str | PathLike[str] | None",
    PathForm: "str | PathLike[str]",
    DestinationForm: "str | PathLike[str]",
    LevelsForm: "Mapping[str, str]",
    AccessFormatForm: "str",
    AddressForm: "str",
    ControlForm: "str",
    RegularExpressionForm: "str | Pattern[str]",
    ReferenceForm: "str | type[object] | None",
    ApplicationForm: "str | Callable[..., Any]",
    ServerNameForm: "str",
    CommandForm: "str | Sequence[str]",
    VariablesForm: "str | Mapping[str, str | None]",
    ExitCodesForm: "str | Mapping[int, int]",
    RefuseStatusForm: "int",
    HooksForm: "str | Hooks | type[Hooks] | None",
}


def python_type(form: Form[Any]) -> str:
    """The annotation for values of this form."""
    if isinstance(form, ChoiceForm | EnumForm):
        return f"Literal[{', '.join(f'{word!r}' for word in form.words)}]".replace("'", '"')
    if isinstance(form, ListForm):
        return f"str | Sequence[{SIMPLE.get(type(form.item), 'str')}]"
    return SIMPLE[type(form)]


def types_of(settings_class: type) -> dict[str, str]:
    return {name: python_type(key.form) for name, key in keys_of(settings_class).items() if name != "app"}


def merged(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The keys of all parts; AssertionError where two of them give one key different types."""
    found: dict[str, str] = {}
    for part in parts:
        for name, annotation in part.items():
            assert found.setdefault(name, annotation) == annotation, name
    return found


def typed_dict(name: str, base: str, about: str, types: Mapping[str, str]) -> str:
    lines = [f"class {name}({base}, total=False):", f'    """{about}"""', ""]
    return "\n".join([*lines, *(f"    {key}: {annotation}" for key, annotation in types.items())]) + "\n"


def make_text() -> str:
    mount = types_of(MountSettings)
    apps = merged(types_of(options) for options in APP_OPTIONS.values())
    server = merged(map(types_of, (DaemonSettings, LoggingSettings, ListenerSettings)))
    own = {key: annotation for key, annotation in server.items() if not {key} & {"address", "tls", "mounts", *mount, *apps}}
    classes = (
        typed_dict("RouteOptions", "TypedDict", "The options of a [mount:PATH] section that runs the user's code.", mount),
        typed_dict("MountOptions", "RouteOptions", "Those, and the options of the built-in apps.", apps),
        typed_dict(
            "ServerOptions", "MountOptions",
            "The options of [daemon], [logging] and [listener:NAME], and those of mounts, which every route starts from.", own,
        ),
        typed_dict("AdminOptions", "TypedDict", "The options of [admin].", types_of(AdminSettings)),
    )  # fmt: skip
    merged((mount, server, apps))
    return HEAD + "".join(f"\n\n{text}" for text in classes)


def test_the_options_are_those_of_the_settings() -> None:
    assert TARGET.read_text() == make_text(), f"{sys.executable} -m tests.test_options writes {TARGET.name} anew"


if __name__ == "__main__":
    TARGET.write_text(make_text())
