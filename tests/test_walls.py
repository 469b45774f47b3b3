"""Which room may import from which: edge > wire > core > apps > brokers, and settings' value types from anywhere."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsdaemon

HOUSE = Path(__file__).resolve().parents[1] / "wsdaemon"

# Each room with the rooms that it may import; it may always import from itself.
ROOMS = {
    "edge": {"wire", "core", "settings"},
    "wire": {"core", "settings"},
    "core": set[str](),
    "apps": {"core", "brokers", "settings"},  # the value objects that everybody hands around lie in core
    "brokers": {"core", "settings"},
    "hub": {"brokers", "core", "settings"},  # loaded by a process that knows neither Autobahn nor Twisted's web
    "settings": set[str](),
    "client": {"wire", "core", "settings", "version"},  # the other end; the daemon does not know it
    "ops": {"core", "brokers", "settings"},  # the values that brokers answer with are for everybody
    "examples": {"apps"},
    "testing": {"server", "client", "core"},  # for the tests of users
    "command": {"client", "core", "daemon", "ops", "settings", "tap", "version"},  # beside twistd's side; no process of a daemon loads it
}  # fmt: skip
AUTOBAHN = "wire"
SEE_EVERYTHING = {"daemon", "__init__", "__main__", "options", "server", "tap", "version"}


def modules() -> Iterator[tuple[Path, str]]:
    for path in sorted(HOUSE.rglob("*.py")):
        yield path, path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of all that a module imports, wherever in it, with our own as `wsdaemon...`."""
    package = ("wsdaemon", *path.relative_to(HOUSE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (start, node.module) if part)
            yield from (f"{base}.{name.name}" for name in node.names)


def rooms_used(path: Path) -> set[str]:
    return {parts[1] for name in imports(path) if (parts := name.split("."))[0] == "wsdaemon" and len(parts) > 1}


def test_every_module_has_a_room() -> None:
    assert {room for _, room in modules()} == {*ROOMS, *SEE_EVERYTHING}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_nothing_from_its_left(room: str) -> None:
    public = set(wsdaemon.__all__) if room == "examples" else set[str]()
    wrong = {path.name: found for path, home in modules() if home == room and (found := rooms_used(path) - ROOMS[room] - {room} - public)}
    assert wrong == {}


def test_apps_never_import_each_other() -> None:
    for path, room in modules():
        if room == "apps":
            own = path.relative_to(HOUSE / "apps").parts[0].removesuffix(".py")
            assert {name.split(".")[2] for name in imports(path) if name.startswith("wsdaemon.apps.")} <= {own}, path


def test_only_the_wire_knows_autobahn() -> None:
    knowing = {room for path, room in modules() if any(name.split(".")[0] in ("autobahn", "txaio") for name in imports(path))}
    assert knowing == {AUTOBAHN}


def test_the_core_knows_nothing_but_python() -> None:
    for path, room in modules():
        if room == "core":
            assert not any(name.split(".")[0] in ("autobahn", "twisted", "zope", "uvloop") for name in imports(path)), path


def test_the_inner_rooms_take_value_types_alone_from_the_settings() -> None:
    """Enums and frozen dataclasses: a name that the wire imports from the settings says a value, and does nothing."""
    for path, room in modules():
        for name in imports(path) if room in ("wire", "core") else ():
            if name.startswith("wsdaemon.settings."):
                module, _, attribute = name.rpartition(".")
                value = getattr(importlib.import_module(module), attribute)
                frozen = dataclasses.is_dataclass(value) and getattr(value, "__dataclass_params__").frozen  # noqa: B009 - not in its type
                assert frozen or (isinstance(value, type) and issubclass(value, enum.Enum)), f"{path.name}: {name}"


# -- corridors: no circles, few generations, few modules at the top

MAX_GENERATIONS = 4
"""Of our own classes in one line of inheritance."""

MAX_MODULES_AT_THE_TOP = 8

CIRCLES: set[frozenset[str]] = set()
"""Modules that still import each other in a circle, TYPE_CHECKING included. The list may only shrink."""

LONG_LINES: set[str] = set()
"""Classes whose line of inheritance is still longer than MAX_GENERATIONS. The list may only shrink."""


TWINS = {"Partial", "Prepared", "Wire", "Writer"}
"""Class names that stand twice, once as the Protocol by which another room sees the class. The frame reader has a class in C, too."""

def names() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path, _ in modules():
        parts = ["wsdaemon", *path.relative_to(HOUSE).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def graph() -> dict[str, set[str]]:
    """The modules that each module imports, wherever in it. An import of a name counts as one of the module that the name is in."""
    known = names()
    return {
        name: {found for each in imports(path) if (found := each if each in known else each.rpartition(".")[0]) in known} - {name}
        for name, path in known.items()
    }


def circles(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules each of which can be reached from each other one of its group."""
    reach: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += edges[name]
        reach[start] = seen
    return {frozenset({name, *(other for other in reach[name] if name in reach[other])}) for name in edges if name in reach[name]}


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == {frozenset("bc")}


def test_the_imports_have_no_circles() -> None:
    found = {frozenset(name.removeprefix("wsdaemon.") for name in circle) for circle in circles(graph())}
    assert not (new := found - CIRCLES), f"new circles: {sorted(map(sorted, new))}"
    assert not (gone := CIRCLES - found), f"circles that are gone, take them off the list: {sorted(map(sorted, gone))}"


def generations(one: type) -> int:
    """Our own classes in the longest line from `one` up."""
    return one.__module__.startswith("wsdaemon.") + max((generations(base) for base in one.__bases__), default=0)


def test_inheritance_is_short() -> None:
    classes = {
        value
        for name in names()
        if not name.endswith("__main__")
        for value in vars(importlib.import_module(name)).values()
        if isinstance(value, type) and value.__module__.startswith("wsdaemon.")
    }
    long = {f"{one.__module__.removeprefix('wsdaemon.')}.{one.__qualname__}" for one in classes if generations(one) > MAX_GENERATIONS}
    assert long == LONG_LINES


def classes_by_name() -> dict[str, dict[str, ast.ClassDef]]:
    """The classes of the house by name and by file, those inside other classes and functions included."""
    found: dict[str, dict[str, ast.ClassDef]] = {}
    for path in sorted(HOUSE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, {})[f"{path.relative_to(HOUSE)}:{node.lineno}"] = node
    return found


def test_each_class_name_stands_once() -> None:
    found = {name: sorted(where) for name, where in classes_by_name().items() if len(where) > 1 and name not in TWINS}
    assert not found, f"names that stand twice: {found}"


def test_twins_are_a_class_and_its_protocol() -> None:
    for name in TWINS:
        nodes = classes_by_name()[name].values()
        protocols = [any("Protocol" in ast.unparse(base) for base in node.bases) for node in nodes]
        assert sorted(protocols) == [False, True], name


def test_few_modules_stand_at_the_top() -> None:
    assert len([path for path in HOUSE.glob("*.py") if path.name != "__init__.py"]) <= MAX_MODULES_AT_THE_TOP


# -- sizes: what grows past them usually holds two things

MAX_FUNCTION_LINES = 40

MAX_FILE_LINES = 400

LONG_FUNCTIONS = {"client/client.py WebSocketClient.__init__"}
"""Functions that are still longer. The list may only shrink."""

LONG_FILES = {
    "brokers/links/redis.py", "client/client.py", "core/handshake.py", "daemon/supervisor.py", "edge/tls_layer.py", "server.py",
    "wire/reader.py",
}  # fmt: skip
"""Files that are still longer. The list may only shrink."""


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, int]]:
    """Each function with the lines of its definition, by its qualified name."""
    for node in ast.iter_child_nodes(tree):
        name = f"{inside}{node.name}" if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else ""
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield name, (node.end_lineno or node.lineno) - node.lineno + 1
        yield from functions(node, f"{name}." if name else inside)


def test_functions_are_found_wherever_they_are() -> None:
    source = "class A:\n    async def b(self):\n        def c():\n            pass\nif x:\n    def d():\n        pass\n"
    assert dict(functions(ast.parse(source))) == {"A.b": 3, "A.b.c": 2, "d": 2}


def test_functions_are_short() -> None:
    long = {
        f"{path.relative_to(HOUSE).as_posix()} {name}"
        for path, _ in modules()
        for name, lines in functions(ast.parse(path.read_text()))
        if lines > MAX_FUNCTION_LINES
    }
    assert not (new := long - LONG_FUNCTIONS), f"more than {MAX_FUNCTION_LINES} lines: {sorted(new)}"
    assert not (gone := LONG_FUNCTIONS - long), f"functions that are short now, take them off the list: {sorted(gone)}"


def test_files_are_short() -> None:
    long = {path.relative_to(HOUSE).as_posix() for path, _ in modules() if len(path.read_text().splitlines()) > MAX_FILE_LINES}
    assert not (new := long - LONG_FILES), f"more than {MAX_FILE_LINES} lines: {sorted(new)}"
    assert not (gone := LONG_FILES - long), f"files that are short now, take them off the list: {sorted(gone)}"
