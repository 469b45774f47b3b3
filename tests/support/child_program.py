"""A program that tests start as a child of a supervisor. The settings in its manifest say what it does."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
from pathlib import Path

from wsdaemon.daemon.inheritance import Manifest


def main() -> None:
    environ = dict(os.environ)
    manifest = Manifest.read(os.environ)
    if manifest.settings == "answer":
        answer(manifest, environ)
    else:
        hang(manifest)


def answer(manifest: Manifest, environ: dict[str, str]) -> None:
    """Tell the supervisor about itself, and wait for its message."""
    channel = manifest.descriptors["supervisor"]
    listed = list(Path("/proc/self/fd").iterdir())  # and the descriptor of this list, which is closed by now
    told = {
        "kind": "told", "number": manifest.number, "environ": environ, "arguments": sys.orig_argv,
        "key": manifest.files["/key"].content.decode(), "session": os.getsid(0) == os.getpid(),
        "open": [int(path.name) for path in listed if os.path.lexists(path)], "named": list(manifest.descriptors.values()),
    }  # fmt: skip
    os.write(channel, json.dumps(told).encode())
    os.read(channel, 1000)
    sys.exit(3)


def hang(manifest: Manifest) -> None:
    """Stand still, in a function whose name is known."""
    faulthandler.register(signal.SIGQUIT, manifest.descriptors["stack"], all_threads=False)
    os.write(manifest.descriptors["supervisor"], b'{"kind": "ready"}')
    spin_for_ever()


def spin_for_ever() -> None:
    while True:
        time.sleep(0)
