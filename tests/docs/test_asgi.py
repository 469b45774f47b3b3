"""docs/asgi.md: each row of the matrix names a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "asgi.md"
TESTS = ROOT / "tests"
FILES = [*(TESTS / "apps" / "asgi").glob("test_*.py"), TESTS / "live" / "test_asgi.py", TESTS / "edge" / "test_tls.py"]


def defined() -> set[str]:
    return {node.name for path in FILES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def rows() -> list[str]:
    """The rows of the tables that name tests, without their heads."""
    sections = PAGE.read_text().split("\n## ")[2:]
    lines = [line for text in sections for line in text.splitlines() if line.startswith("| ")]
    return [line for line in lines if not line.startswith(("| case", "| project"))]


def test_each_row_names_a_test_that_is_there() -> None:
    known = defined()
    assert len(rows()) > 50
    for row in rows():
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        assert set(named) <= known, f"{set(named) - known} is not there"
