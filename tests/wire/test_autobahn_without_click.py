"""wire/__init__.py: Autobahn is imported as if click were not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import wsdaemon.wire.wire, autobahn.util
assert "click" not in sys.modules and autobahn.util.hl("x") == "x", "Autobahn colours its words"
import click
assert click.coloured, "programs get click as ever"
"""


def test_autobahn_does_not_colour_its_words_and_programs_have_click(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("coloured = True\ndef style(text, **options): return f'<{text}>'\n")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
