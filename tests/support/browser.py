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


class Browser:
    """A browser with one empty page; `run` has the page run JavaScript."""

    def __init__(self, program: str, folder: Path) -> None:
        """`folder` becomes its profile."""
        line = [program, *OPTIONS, "--ignore-certificate-errors", f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._output = Output(self._process.stderr)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        try:
            [found] = self._output.wait_for(r"DevTools listening on (ws://\S+)")
            self._connecting = connect(found[1], proxy=None, max_size=None, compression=None)
            self._devtools = self._connecting.__enter__()
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._page = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
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
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def go(self, url: str) -> None:
        """Load a page: what it runs then has the page's origin."""
        answer = self._call("Page.navigate", self._page, url=url)
        assert not answer.get("errorText"), answer

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is waited for."""
        answer = self._call("Runtime.evaluate", self._page, expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")
