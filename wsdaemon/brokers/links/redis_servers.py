"""The servers behind a `url`: connections to them, and which of them are primaries now."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, AuthenticationError, AuthorizationError, NoPermissionError, RedisError, ResponseError

from ...settings.broker import BrokerSettings, RedisLayout
from .redis_pipe import Questions, Subscriptions
from .redis_scripts import ALL, DIGESTS, GUARD

OLDEST_VERSION = (7, 0)
"""Of Redis. Valkey counts on from Redis 7.2."""

SLOTS = 16384
"""Hash slots of a cluster."""


class Unfit(Exception):
    """This Redis cannot be used, and waiting does not help: a wrong password, a version that is too old, missing rights."""


class Away(Exception):
    """Redis cannot be reached or used now."""


class RedisPlace(NamedTuple):
    """The address of a server: a host and a port, or the path of a unix socket and 0."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


class Layout(NamedTuple):
    """The primaries now. `slots`: the primary of each hash slot of a cluster; None without a cluster."""

    primaries: tuple[RedisPlace, ...]
    slots: tuple[RedisPlace | None, ...] | None = None

    def place_of(self, slot: int) -> RedisPlace:
        """The primary that has a slot. Away if none has it."""
        place = self.primaries[0] if self.slots is None else self.slots[slot]
        if place is None:
            raise Away(f"the cluster has no primary for the slot {slot}")
        return place


class Servers:
    """Connects to the servers of a [broker] section. `limit`: seconds that a connection may take."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self.url = settings.url
        self.limit = min(settings.timeout, 5.0)
        self._fence_key = f"{settings.prefix}:{{fence}}"

    async def find(self) -> Layout:
        """Where the primaries are now. Away if that cannot be known, Unfit if a password is wrong."""
        if self.url.layout is RedisLayout.ALONE:
            return Layout((RedisPlace(self.url.path, 0) if self.url.path else RedisPlace(*self.url.servers[0]),))
        places = [RedisPlace(host, port) for host, port in self.url.servers]
        ask = self._ask_sentinel if self.url.layout is RedisLayout.SENTINEL else self._ask_node
        answers = await asyncio.gather(*[ask(place) for place in places], return_exceptions=True)
        found = [answer for answer in answers if not isinstance(answer, BaseException) and answer is not None]
        if not found:
            for answer in answers:
                if isinstance(answer, Unfit):
                    raise answer
            reasons = "; ".join(sorted({str(answer) for answer in answers if answer is not None}))
            what = f"no Sentinel knows the primary {self.url.master}" if self.url.layout is RedisLayout.SENTINEL else "no node answers"
            raise Away(f"{what}: {reasons}" if reasons else what)
        # Of Sentinels, and of nodes, a minority may be cut off from the others, and know an old state.
        [(most, _)] = Counter(found).most_common(1)
        return most

    async def questions(self, place: RedisPlace) -> Questions:
        """A connection for questions to a primary, with its fence, and all scripts loaded. Away or Unfit."""
        pipe = Questions(await self._connect(place))
        try:
            async with asyncio.timeout(self.limit):
                await self._inspect(pipe, place)
        except BaseException as error:
            await pipe.close()
            if isinstance(error, Away | Unfit | asyncio.CancelledError):
                raise
            raise self._failed(place, error) from error
        return pipe

    async def subscriptions(
        self, place: RedisPlace, message: Callable[[bytes, bytes], None], dropped: Callable[[bytes], None]
    ) -> Subscriptions:
        """A connection for subscriptions. Away or Unfit."""
        return Subscriptions(await self._connect(place), message, dropped)

    async def _connect(self, place: RedisPlace, sentinel: bool = False) -> AbstractConnection:
        connection = self._connection(place, sentinel)
        try:
            async with asyncio.timeout(self.limit):
                await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException as error:
            await connection.disconnect(nowait=True)
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._failed(place, error) from error
        return connection

    def _connection(self, place: RedisPlace, sentinel: bool) -> AbstractConnection:
        secret = self._settings.sentinel_password_file if sentinel else self._settings.password_file
        options: dict[str, Any] = {
            "db": 0 if sentinel else self.url.database,
            "username": None if sentinel else self.url.user or None,
            "password": None if secret is None else secret.reveal(),
            "socket_timeout": None,
            "socket_connect_timeout": self.limit,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if not place.port:
            return UnixDomainSocketConnection(path=place.host, **options)
        options |= {"host": place.host, "port": place.port}
        if not self.url.tls:
            return Connection(**options)
        return SSLConnection(
            ssl_ca_certs=_text(self._settings.tls_ca), ssl_certfile=_text(self._settings.tls_certificate),
            ssl_keyfile=_text(self._settings.tls_key), **options,
        )  # fmt: skip

    def _failed(self, place: RedisPlace, error: BaseException) -> Exception:
        """The error of a connection that failed."""
        if isinstance(error, AuthenticationError | AuthorizationError):
            return Unfit(f"{place} refuses the user or the password")
        if isinstance(error, NoPermissionError):
            return Unfit(f"{place} does not give the user the rights that are needed: {error}")
        if isinstance(error, TimeoutError):
            return Away(f"{place} does not answer")
        return Away(f"{place}: {error}" if str(place) not in str(error) else str(error))

    async def _inspect(self, pipe: Questions, place: RedisPlace) -> None:
        """Check version and role, load the scripts, and learn the fence."""
        server = _fields(await pipe.ask("INFO", "server"))
        version = server.get("redis_version", "0")
        if tuple([int(part) for part in version.split(".")[:2] if part.isdigit()]) < OLDEST_VERSION:
            raise Unfit(f"{place} is Redis {version}; expected 7.0 or later, or Valkey")
        role = _fields(await pipe.ask("INFO", "replication")).get("role")
        if role != "master":
            raise Away(f"{place} is a replica now")
        pipe.run_id = server["run_id"]
        for script in ALL:
            await pipe.ask("SCRIPT", "LOAD", script)
        if self._settings.on_failover == "reset":
            if self.url.layout is RedisLayout.CLUSTER:
                pipe.fence = pipe.run_id
            else:
                pipe.fence = (await pipe.ask("EVALSHA", DIGESTS[GUARD], 1, self._fence_key, pipe.run_id)).decode()

    async def _ask_sentinel(self, place: RedisPlace) -> Layout | None:
        """The primary, as one Sentinel knows it."""
        answer = await self._ask_once(place, True, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.url.master)
        return None if answer is None else Layout((RedisPlace(answer[0].decode(), int(answer[1])),))

    async def _ask_node(self, place: RedisPlace) -> Layout | None:
        """The primaries and their slots, as one node of a cluster knows them."""
        slots: list[RedisPlace | None] = [None] * SLOTS
        for first, last, primary, *_ in await self._ask_once(place, False, "CLUSTER", "SLOTS"):
            # An empty host is the one that was asked.
            where = RedisPlace((primary[0] or b"").decode() or place.host, int(primary[1]))
            slots[first : last + 1] = [where] * (last + 1 - first)
        primaries = tuple(sorted({each for each in slots if each is not None}))
        return Layout(primaries, tuple(slots)) if primaries else None

    async def _ask_once(self, place: RedisPlace, sentinel: bool, *arguments: str) -> Any:
        connection = await self._connect(place, sentinel)
        try:
            async with asyncio.timeout(self.limit):
                await connection.send_command(*arguments)
                return await connection.read_response(disable_decoding=True)
        except (RedisError, OSError) as error:
            if isinstance(error, ResponseError) and "cluster support disabled" in str(error):
                raise Unfit(f"{place} is no cluster; expected a url that begins with redis://") from error
            raise self._failed(place, error) from error
        finally:
            await connection.disconnect(nowait=True)


def lacks_rights(reason: str) -> bool:
    """Whether an error of a script says that the user of an ACL may not run one of its commands, or not use one of its keys or channels."""
    return any(words in reason for words in ("NOPERM", "ermission", "can't run this command", "can't access", "ACL failure"))


def _text(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path)


def moved_to(error: AskError) -> RedisPlace:
    """The server that an ASK, or a MOVED, names."""
    return RedisPlace(error.host, int(error.port))


def _fields(info: bytes) -> dict[str, str]:
    """The fields of an answer to INFO."""
    lines = info.decode(errors="replace").splitlines()
    found = [line.partition(":") for line in lines if ":" in line and not line.startswith("#")]
    return {name: value for name, _, value in found}
