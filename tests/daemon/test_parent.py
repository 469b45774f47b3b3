"""daemon/parent.py: a process that ends with its parent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = "import sys; from wsdaemon.daemon.parent import end_with; end_with(int(sys.argv[1]), 9); print('goes on')"


@pytest.mark.parametrize(("parent", "status", "printed"), [(os.getpid(), 0, "goes on\n"), (0, 1, "")], ids=["alive", "dead already"])
def test_a_parent_that_has_died_before_the_kernel_knew_ends_the_process(parent: int, status: int, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(parent)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, printed)
