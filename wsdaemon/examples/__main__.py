"""The examples in a browser: `python -m wsdaemon.examples`, in a clone of the repository.

Serves the pages of examples/, the JavaScript client that they use and, on the same port, the mounts of examples/examples.ini.
"""

from __future__ import annotations

import argparse
import configparser
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from wsdaemon import MountOptions, SettingsError, StartError, WebSocketServer

FOLDER = Path(__file__).resolve().parent.parent.parent / "examples"
PAGES = {"/": "index.html", "/chat": "chat.html", "/dashboard": "dashboard.html", "/cursors": "cursors.html"}
MODULE = "clients/js/wsdaemon.js"
ANY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104


def make_server(port: int = 0, host: str = "127.0.0.1", folder: Path = FOLDER) -> WebSocketServer:
    """A server with the mounts and the pages in `folder`. OSError if they are missing."""
    server = WebSocketServer(port=port, host=host)
    settings = configparser.RawConfigParser(delimiters=("=",))
    settings.read_string((folder / "examples.ini").read_text("utf-8"))
    for name in settings.sections():
        kind, _, path = name.partition(":")
        if kind == "mount":
            options = dict(settings[name])
            server.mount(path, options.pop("app"), **cast(MountOptions, options))
    for path, file in PAGES.items():
        server.page(path, folder / file)
    server.page("/wsdaemon.js", folder.parent / MODULE)
    return server


def url(host: str, port: int) -> str:
    """The URL of the pages for a browser on this machine."""
    name = "127.0.0.1" if host in ANY_ADDRESS else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wsdaemon.examples", description="Serves the examples to your browser.")
    parser.add_argument("--port", type=int, default=8080, help="the port; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="the address; 0.0.0.0 admits other machines too (default: %(default)s)")
    parser.add_argument("--open", action="store_true", help="open them in a browser")
    given = parser.parse_args(arguments)

    def ready() -> None:
        address = url(given.host, server.port)
        others = ", and at this machine's other addresses" if given.host in ANY_ADDRESS else ""
        print(f"the examples are at {address}{others}", flush=True)
        if given.open:
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    if not FOLDER.is_dir():
        print("the directory examples/ is missing: a clone of the repository has the pages", file=sys.stderr)
        return 1
    try:
        server = make_server(given.port, given.host)
        server.run_forever(ready)
    except (SettingsError, StartError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
