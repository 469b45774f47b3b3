"""The tests, the servers and the goals."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SUBJECT = "wsdaemon"
BEFORE = "before"
"""wsdaemon of another source tree, which --against names."""
LIMIT = "raw"
"""The bare C loop: what the kernel costs."""


def make_json(size: int) -> str:
    """A JSON message of exactly `size` bytes, as services push them: names repeat, values do not. The same at every call."""
    chance = random.Random(7)  # noqa: S311 (no secret: a message that is the same in every run)
    quotes: list[dict[str, object]] = []

    def text() -> str:
        return json.dumps({"type": "quotes", "quotes": quotes, "note": ""}, separators=(",", ":"))

    while len(text()) < size - 90:
        symbol = "".join(chance.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=4))
        bid, ask = chance.randint(100, 99999) / 100, chance.randint(100, 99999) / 100
        quotes.append({"symbol": symbol, "bid": bid, "ask": ask, "id": chance.getrandbits(32)})
    note = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz ", k=size - len(text())))
    return text().replace('"note":""', f'"note":"{note}"')


@dataclass(frozen=True, slots=True)
class Test:
    """One row: a load for every server that has the path for it."""

    name: str
    title: str
    load: str
    """Options of wsload. {json} is the message of make_json."""
    path: str = "echo"
    """Which of a server's paths the load goes to; `sub` brings `pub` along."""
    mounts: int = 1
    """How many mounts the connections spread over: as many paths, each `path` with a number behind it."""
    workers: int = 0
    """How many processes serve; 0: one, without a supervisor."""
    unit: str = "us"
    """us: CPU time per message, delivery or open and close. bytes: memory per connection. ms: a 99th percentile, of a probe's echoes or,
    when the load is `paced`, of its own latency."""
    tls: bool = False
    deflate: bool = False
    """The client offers permessage-deflate, and the server must agree."""
    seconds: float | None = None
    """How long it takes when that is not up to --seconds."""
    subject_only: bool = False
    pinged: bool = False
    """Each connection must have been pinged meanwhile."""
    upstream: bool = False
    """Behind the server stands another, whose CPU time does not count: the C limit, on the load's CPU."""
    paced: bool = False
    """The load goes by the clock, and what counts is its own 99th percentile."""

    @property
    def probed(self) -> bool:
        """Whether what counts is the round trip of another client meanwhile."""
        return self.unit == "ms" and not self.paced

    @property
    def connections(self) -> int:
        words = self.load.split()
        return int(words[words.index("-C") + 1])


_ECHO64 = "--mode echo -C 100 -S 64"
_ECHO16K = "--mode echo -C 50 -S 16384 --binary"
_ECHO1M = "--mode echo -C 8 -S 1048576 --binary --verify-every 64"
_ROOM = "--mode fanout -C 1000 -S 128"
_JSON = "--mode fanout -C 1000 --text {json}"
_CHURN = "--mode churn -C 64 --srcs 50"
_IDLE = "--mode idle -C {count} --srcs 50 --inflight 200 --open-timeout 100"
_MANY = _IDLE.replace("{count}", "10000")
PROBE = "--mode echo -C 1 -P 512 -S 64 --interval 2 --warm 0.8"

TESTS: Mapping[str, Test] = {
    test.name: test
    for test in (
        Test("echo64", "echo 64 B, one in flight", f"{_ECHO64} -P 1"),
        Test("echo64-mounts", "echo 64 B, four mounts in use", f"{_ECHO64} -P 1", mounts=4),
        Test("coroutine", "echo 64 B through a user's coroutine", f"{_ECHO64} -P 1", "coroutine"),
        Test("class", "echo 64 B through a user's class", f"{_ECHO64} -P 1", "class"),
        Test("function", "echo 64 B through a user's plain function", "--mode echo -C 64 -S 64 -P 1", "function"),
        Test("proxy", "echo 64 B through the proxy", f"{_ECHO64} -P 1", "proxy", upstream=True, subject_only=True),
        Test("proxy16", "echo 64 B through the proxy, 16 in flight", f"{_ECHO64} -P 16", "proxy", upstream=True, subject_only=True),
        Test("asgi", "echo 64 B through an ASGI application", f"{_ECHO64} -P 1", "asgi"),
        Test("echo64x16", "echo 64 B, 16 in flight", f"{_ECHO64} -P 16"),
        Test("echo64-workers", "echo 64 B, two workers", f"{_ECHO64} -P 1", workers=2, subject_only=True),
        Test("echo64x16-workers", "echo 64 B, 16 in flight, two workers", f"{_ECHO64} -P 16", workers=2, subject_only=True),
        Test("echo16k", "echo 16 KB", _ECHO16K),
        Test("echo1m", "echo 1 MB", _ECHO1M),
        Test("tls-echo64", "echo 64 B over TLS", f"{_ECHO64} -P 1", tls=True),
        Test("tls-echo16k", "echo 16 KB over TLS", _ECHO16K, tls=True),
        Test("tls-echo1m", "echo 1 MB over TLS", _ECHO1M, tls=True),
        Test("room", "room of 1,000, 128 B, per delivery", _ROOM, "sub"),
        Test("room-workers", "room of 1,000, 128 B, per delivery, two workers", _ROOM, "sub", workers=2, subject_only=True),
        Test("room8", "room of 1,000, 128 B, 8 under way, per delivery", f"{_ROOM} --window 8", "sub"),
        Test("room-json", "room of 1,000, 1 KiB JSON, per delivery", _JSON, "sub"),
        Test("room-deflate", "room of 1,000, 1 KiB JSON, deflate, per delivery", f"{_JSON} --offer-deflate", "sub", deflate=True),
        Test(
            "room-paced", "room of 1,000, 128 B, 200 a second, until the last has it, p99", f"{_ROOM} --interval 5 --window 1000",
            "sub", unit="ms", paced=True,
        ),
        Test("churn", "open and close", _CHURN),
        Test("tls-churn", "open and close over TLS", _CHURN, tls=True),
        Test("idle", "idle connection", _MANY, unit="bytes"),
        Test("tls-idle", "idle connection over TLS", _IDLE.replace("{count}", "5000"), unit="bytes", tls=True),
        Test(
            "idle-deflate", "idle connection, deflate used", f"{_MANY} --exchange --compress --text {{json}}",
            unit="bytes", deflate=True,
        ),
        Test(
            "idle-pings", "echo beside 15,000 idle with pings, p99", _IDLE.replace("{count}", "15000"),
            unit="ms", seconds=35, subject_only=True, pinged=True,
        ),
        Test(
            "room-stall", "echo beside a room of 10,000, p99", "--mode fanout -C 9999 -S 128 --srcs 50",
            "sub", unit="ms", seconds=6,
        ),
    )
}  # fmt: skip
"""In the order in which they are run. Idle connections are pinged after 25 s by default, so the test with pings takes longer."""


@dataclass(frozen=True, slots=True)
class Server:
    """wsdaemon, or a peer that it is compared with."""

    name: str
    command: str = ""
    """Words with {port}, {bin} (where its environment keeps programs, or the modules of Node.js), {servers}, {raw} and {config}. Empty:
    wsdaemon, of this source tree or of the one before."""
    packages: str = ""
    home: str = "peers"
    """The environment that the packages are installed in."""
    tls: bool = True
    deflate: str | None = "--deflate"
    """Added for tests with permessage-deflate; None: it has none."""
    paths: Mapping[str, str] = field(default_factory=lambda: {"echo": "/", "sub": "/sub", "pub": "/pub"})
    config: str = ""
    """A file of `servers` that is copied into the cache folder with the {port} filled in; {config} is the copy."""
    system: Mapping[str, str] = field(default_factory=dict)
    """Files of the system that it needs, and the Debian packages that bring them. They are not installed for it."""

    def can(self, test: Test) -> bool:
        """Whether this test has a meaning here."""
        if test.path not in self.paths or (test.subject_only and self.command) or (test.probed and "echo" not in self.paths):
            return False
        return (self.tls or not test.tls) and (self.deflate is not None or not test.deflate)


NODE = "node"
"""The environment whose packages come with npm."""
_ASGI = "env PYTHONPATH={{servers}} {{bin}}/python -m {} asgi_echo:app"
_QUIET = "--log-level warning --host 127.0.0.1 --port {port}"
_ONLY_ASGI: Any = {"home": "asgi", "tls": False, "deflate": None, "paths": {"asgi": "/"}}
_COROUTINE = {"echo": "/", "coroutine": "/", "sub": "/sub", "pub": "/pub"}

PEERS: Mapping[str, Server] = {
    server.name: server
    for server in (
        Server(LIMIT, "{raw} {port}", tls=False, deflate=None),
        Server("picows", "{bin}/python {servers}/picows_echo.py {port}", "picows uvloop", deflate=None),
        Server("socketify", "{bin}/python {servers}/socketify_echo.py {port}", "socketify"),
        Server("ws", "env NODE_PATH={bin} node {servers}/ws_echo.js {port}", "ws bufferutil", home=NODE),
        Server("websockets", "{bin}/python {servers}/websockets_echo.py {port}", "websockets", paths=_COROUTINE),
        Server("websockets-uvloop", "{bin}/python {servers}/websockets_echo.py {port} --uvloop", "websockets uvloop", paths=_COROUTINE),
        Server("aiohttp", "{bin}/python {servers}/aiohttp_echo.py {port}", "aiohttp uvloop", paths=_COROUTINE),
        # Alone: where `click` can be imported, Autobahn colours the arguments of log calls that are switched off.
        Server("autobahn", "{bin}/python {servers}/autobahn_twisted.py {port}", "autobahn twisted[tls]", home="autobahn"),
        # An environment of their own, because uvicorn brings `click`.
        Server("uvicorn", _ASGI.format(f"uvicorn --ws websockets-sansio {_QUIET}"), "uvicorn uvloop websockets", **_ONLY_ASGI),
        Server("granian", _ASGI.format(f"granian --interface asgi {_QUIET}"), "granian uvloop", **_ONLY_ASGI),
        Server("hypercorn", _ASGI.format("hypercorn --worker-class uvloop -b 127.0.0.1:{port}"), "hypercorn uvloop", **_ONLY_ASGI),
        Server("daphne", _ASGI.format("daphne -p {port}"), "daphne", **_ONLY_ASGI),
        Server(
            "gunicorn", _ASGI.format("gunicorn --worker-class asgi --asgi-loop uvloop --log-level warning -b 127.0.0.1:{port}"),
            "gunicorn uvloop", **_ONLY_ASGI,
        ),
        Server(
            "nchan", "/usr/sbin/nginx -e stderr -c {config}", tls=False, deflate=None, paths={"sub": "/sub", "pub": "/pub"},
            config="nchan.conf",
            system={"/usr/sbin/nginx": "nginx-light", "/usr/lib/nginx/modules/ngx_nchan_module.so": "libnginx-mod-nchan"},
        ),
    )
}  # fmt: skip
DEFAULT_PEERS = (
    LIMIT, "picows", "socketify", "ws", "websockets", "aiohttp", "autobahn", "nchan", "uvicorn", "granian", "hypercorn", "daphne",
    "gunicorn",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of the subject in a test: at most `most`, in the test's unit, or as a multiple of another figure."""

    test: str
    most: float
    server: str = ""
    """The server whose figure is the unit; empty: `most` is the figure itself."""
    base: str = ""
    """The test that figure is from; empty: the same."""

    @property
    def measure(self) -> str:
        """The unit of `most`, in words."""
        if not self.server:
            return TESTS[self.test].unit
        if self.server == SUBJECT:
            return f"x {TESTS[self.base].title}"
        if self.server == BEFORE:
            return "x the same before"
        return "x the C limit" if self.server == LIMIT else f"x {self.server}"

    @property
    def needs(self) -> frozenset[tuple[str, str]]:
        """Pairs of test and server that must be run to know."""
        other = {(self.base or self.test, self.server)} if self.server else set()
        return frozenset({(self.test, SUBJECT), *other})


GOALS = (
    Goal("echo64", 1.15, "picows"),
    Goal("echo64", 1.4, LIMIT),
    Goal("echo64", 1.0, BEFORE),
    Goal("echo64-mounts", 0.95, BEFORE),
    Goal("echo64x16", 0.14, "picows"),
    Goal("echo64-workers", 1.1, SUBJECT, "echo64"),
    Goal("echo64x16-workers", 1.1, SUBJECT, "echo64x16"),
    Goal("echo16k", 0.95, "picows"),
    Goal("echo1m", 0.85, "picows"),
    Goal("coroutine", 0.6, "websockets"),
    Goal("asgi", 0.6, "uvicorn"),
    Goal("asgi", 0.6, "granian"),
    Goal("asgi", 0.6, "hypercorn"),
    Goal("asgi", 0.6, "daphne"),
    Goal("asgi", 0.6, "gunicorn"),
    Goal("proxy", 2.2, SUBJECT, "echo64"),
    Goal("proxy16", 2.2, SUBJECT, "echo64x16"),
    Goal("tls-echo64", 1.05, "picows"),
    Goal("tls-echo16k", 1.05, "picows"),
    Goal("tls-echo1m", 1.1, "picows"),
    Goal("room", 0.93, LIMIT),
    Goal("room8", 0.28, LIMIT),
    Goal("room-workers", 1.1, SUBJECT, "room"),
    Goal("room-deflate", 1.3, SUBJECT, "room-json"),
    Goal("churn", 1.3, "picows"),
    Goal("tls-churn", 1.0, "picows"),
    Goal("idle", 3700),
    Goal("idle-deflate", 5000),
    Goal("tls-idle", 21000),
    Goal("idle-pings", 20),
)
"""Those that count the figures of BEFORE apply when --against names a source tree."""
