"""daemon/preload.py: a worker imports nothing once it is ready, because an upgrade may have replaced the packages by then."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import wsdaemon
from wsdaemon.daemon.preload import FOR_ALL, FOR_TLS, preload
from wsdaemon.settings.build import build, section

HOUSE = Path(wsdaemon.__file__).parent

EARLY = {
    "edge/auth/make.py": "authenticators are made before the start",
    "wire/__init__.py": "at its own import",
    "wire/factory.py": "a mount prepares its factory before the start",
}
"""Modules whose late imports run before a worker is ready."""


def late_imports() -> Iterator[tuple[str, str]]:
    """The file, and the module that a function of it imports."""
    for room in ("edge", "wire", "core", "apps", "brokers", "ops", "hub"):
        for path in sorted((HOUSE / room).rglob("*.py")):
            package = ".".join(("wsdaemon", *path.relative_to(HOUSE).parts[:-1]))
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    for inner in ast.walk(node):
                        if isinstance(inner, ast.ImportFrom):
                            base = package.rsplit(".", inner.level - 1)[0] + "." if inner.level else ""
                            yield path.relative_to(HOUSE).as_posix(), f"{base}{inner.module}"
                        elif isinstance(inner, ast.Import):
                            yield path.relative_to(HOUSE).as_posix(), inner.names[0].name


def test_every_import_that_a_client_may_cause_is_made_before() -> None:
    late = {(path, module) for path, module in late_imports() if path not in EARLY}
    assert late, "the search finds them"
    assert {module for _, module in late} <= {*FOR_ALL, *FOR_TLS}, late


def test_all_of_them_can_be_imported() -> None:
    sections = [section("listener:web", address="tcp:0", tls_certificate="c.pem", tls_key="k.pem"), section("mount:/", app="echo")]
    preload(build(sections, "test"))
