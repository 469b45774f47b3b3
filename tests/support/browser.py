"""A headless Chromium, driven through the DevTools protocol."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from websockets.sync.client import connect

from tests.support.daemon import SECONDS, Output

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-port=0",
)  # fmt: skip


EVENTS = frozenset(
    {
        "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.requestWillBeSent", "Network.webSocketCreated",
    }
)  # fmt: skip
"""The events that Browser.watch() keeps."""


class Browser:
    """A browser with one empty page; `run` has the page run JavaScript. `tab` opens further ones."""

    def __init__(self, program: str, folder: Path) -> None:
        """`folder` becomes its profile."""
        line = [program, *OPTIONS, "--ignore-certificate-errors", f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._output = Output(self._process.stderr)
        self._numbers = itertools.count(1)
        self._targets: dict[str, str] = {}
        self.kept: frozenset[str] = frozenset()
        """The events that are kept."""
        self.told: list[tuple[str, str, Any]] = []
        """Those events: the page, the event and what it tells."""

    def __enter__(self) -> Self:
        try:
            [found] = self._output.wait_for(r"DevTools listening on (ws://\S+)")
            self._connecting = connect(found[1], proxy=None, max_size=None, compression=None)
            self._devtools = self._connecting.__enter__()
            self._page = self.tab()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if hasattr(self, "_devtools"):
            self._connecting.__exit__(None, None, None)
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._devtools.send(json.dumps(message))
        while True:
            answer = json.loads(self._devtools.recv(SECONDS))
            if "method" in answer and answer["method"] in self.kept:
                self.told.append((answer["sessionId"], answer["method"], answer["params"]))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def tab(self) -> str:
        """Open an empty page; its name for `switch`."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        name = str(self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        self._targets[name] = target
        return name

    def close_tab(self, tab: str) -> None:
        """Close a page that tab() has opened."""
        self._call("Target.closeTarget", targetId=self._targets.pop(tab))

    def switch(self, tab: str) -> str:
        """Go on with another page; returns the name of the one before."""
        before, self._page = self._page, tab
        return before

    def watch(self) -> None:
        """Keep in `told` what this page's console says, what it asks for, and what its policy forbids."""
        self.kept |= EVENTS
        for domain in ("Runtime", "Log", "Network"):
            self._call(f"{domain}.enable", self._page)

    def resize(self, width: int, height: int, scheme: str = "light") -> None:
        """The size of the page, and whether it is to be light or dark."""
        self._call("Emulation.setDeviceMetricsOverride", self._page, width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._call("Emulation.setEmulatedMedia", self._page, features=[{"name": "prefers-color-scheme", "value": scheme}])

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        script = """new Promise((resolve) => {
            const end = Date.now() + %d;
            const look = () => { if (%s) resolve(true);
                else if (Date.now() > end) resolve(document.body.innerText); else setTimeout(look, 20); };
            look();
        })"""
        found = self.run(script % (int(SECONDS * 900), condition))
        assert found is True, f"{condition}\n{found}"

    def go(self, url: str) -> None:
        """Load a page: what it runs then has the page's origin."""
        answer = self._call("Page.navigate", self._page, url=url)
        assert not answer.get("errorText"), answer

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        answer = self._call("Runtime.evaluate", self._page, expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")
