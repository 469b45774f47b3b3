"""Which room may import from which: edge > wire > core > apps > brokers, and settings' value types from anywhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import wsdaemon

HOUSE = Path(__file__).resolve().parents[1] / "wsdaemon"

# What stands beside its name may be imported; a room may always import from itself.
ROOMS = {
    "edge": {"wire", "core", "settings"},
    "wire": {"core", "settings"},
    "core": set[str](),
    "apps": {"core", "brokers", "settings"},  # the value objects that everybody hands around lie in core
    "brokers": {"core", "settings"},
    "settings": set[str](),
    "ops": {"core", "brokers", "settings"},  # the values that brokers answer with are for everybody
    "examples": {"apps"},
}  # fmt: skip
AUTOBAHN = "wire"
SEE_EVERYTHING = {"daemon", "__init__", "options", "server", "tap"}


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
            assert not any(name.split(".")[0] in ("autobahn", "twisted", "zope", "uvloop", "aiofastnet") for name in imports(path)), path
