"""[broker]: where the order of rooms is kept."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote, urlsplit

from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue
from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import File, PositiveDuration, SecretFile

REDIS_PORT, SENTINEL_PORT = 6379, 26379

LONGEST_TIMEOUT = 60.0
"""Seconds. The order promises to remember the numbers of publications for a minute; a retry after that would be published again."""

_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)


class BrokerKind(enum.StrEnum):
    MEMORY = "memory"
    REDIS = "redis"


class Acknowledge(enum.StrEnum):
    PRIMARY = "primary"
    REPLICA = "replica"


class OnFailover(enum.StrEnum):
    RESET = "reset"
    TRUST = "trust"


class WhenLost(enum.StrEnum):
    KEEP = "keep"
    CLOSE = "close"


class RedisLayout(enum.StrEnum):
    """How the servers of a RedisUrl work together."""

    ALONE = "alone"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """Where Redis is. `servers`: hosts with ports; the Sentinels for that layout; none if there is a `path` of a unix socket."""

    layout: RedisLayout = RedisLayout.ALONE
    tls: bool = False
    user: str = ""
    servers: tuple[tuple[str, int], ...] = (("127.0.0.1", REDIS_PORT),)
    path: str = ""
    master: str = ""
    """The name under which the Sentinels know the primary."""
    database: int = 0

    def __str__(self) -> str:
        scheme = ("rediss" if self.tls else "redis") + ("" if self.layout is RedisLayout.ALONE else f"+{self.layout.value}")
        user = f"{self.user}@" if self.user else ""
        if self.path:
            return f"unix://{user}{self.path}" + (f"?db={self.database}" if self.database else "")
        hosts = ",".join([f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers])
        ends = [self.master] if self.master else []
        ends += [str(self.database)] if self.database else []
        return f"{scheme}://{user}{hosts}" + "".join([f"/{end}" for end in ends])


_EXAMPLES = "redis://host:6379/0, rediss://host, unix:///run/redis.sock, redis+sentinel://a,b,c/master or redis+cluster://a,b,c"


@dataclass(frozen=True, slots=True)
class RedisUrlForm(Form[RedisUrl]):
    """The address of Redis, without a password, because the INI file holds no secrets."""

    @property
    def expected(self) -> str:
        return f"a URL such as {_EXAMPLES}"

    def parse(self, text: str) -> RedisUrl:
        scheme, separator, rest = text.partition("://")
        base, plus, layout = scheme.partition("+")
        if not separator or re.fullmatch(r"[!-~]+", text) is None or (plus and layout not in ("sentinel", "cluster")):
            raise self.refusal()
        user, at, place = rest.rpartition("@")
        if ":" in user:
            raise BadValue("expected a URL without a password; put it into a file, and name that in password_file")
        if at and not user:
            raise self.refusal()
        if base == "unix" and not plus:
            return self._unix(unquote(user), place)
        if base not in ("redis", "rediss"):
            raise self.refusal()
        hosts, _, path = place.partition("/")
        parts = path.split("/") if path else []
        which = RedisLayout(layout) if plus else RedisLayout.ALONE
        master = parts.pop(0) if which is RedisLayout.SENTINEL and parts else ""
        if len(parts) > 1 or (parts and (which is RedisLayout.CLUSTER or re.fullmatch(r"[0-9]{1,4}", parts[0], re.ASCII) is None)):
            raise self.refusal("; a cluster has no databases" if which is RedisLayout.CLUSTER else "")
        if which is RedisLayout.SENTINEL and not re.fullmatch(r"[A-Za-z0-9._-]+", master, re.ASCII):
            raise BadValue("expected redis+sentinel://a,b,c/NAME, with the name that the Sentinels have for the primary")
        servers = tuple([self._server(each, SENTINEL_PORT if which is RedisLayout.SENTINEL else REDIS_PORT) for each in hosts.split(",")])
        if which is RedisLayout.ALONE and len(servers) > 1:
            raise self.refusal()
        return RedisUrl(which, base == "rediss", unquote(user), servers, "", master, int(parts[0]) if parts else 0)

    def _unix(self, user: str, place: str) -> RedisUrl:
        path, question, query = place.partition("?")
        found = re.fullmatch(r"db=([0-9]{1,4})", query, re.ASCII)
        if not path.startswith("/") or (question and found is None):
            raise self.refusal()
        return RedisUrl(RedisLayout.ALONE, False, user, (), path, "", 0 if found is None else int(found[1]))

    def _server(self, text: str, port: int) -> tuple[str, int]:
        try:
            parts = urlsplit(f"//{text}")
            number = port if parts.port is None else parts.port
        except ValueError:
            raise self.refusal() from None
        if not parts.hostname or not number or parts.path or parts.query or parts.fragment:
            raise self.refusal()
        return parts.hostname, number

    def accept(self, value: object) -> RedisUrl:
        if not isinstance(value, RedisUrl):
            raise self.refusal()
        return self.parse(str(value))


@dataclass(frozen=True, slots=True)
class PrefixForm(Form[str]):
    """The first part of the names of keys."""

    @property
    def expected(self) -> str:
        return "up to 64 letters, digits and _.:-"

    def parse(self, text: str) -> str:
        if _PREFIX.fullmatch(text) is None:
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings(SectionSettings):
    """[broker]: where the order of rooms is kept: in this daemon, or in a Redis or Valkey that several daemons share."""

    kind: BrokerKind = field(
        default=BrokerKind.REDIS,
        metadata=explain(
            "memory: in this daemon, as without this section. redis: in Redis 7.0 or later, or Valkey 8 or later, so that the members of a "
            "room may be connected to different daemons. redis needs pip install 'wsdaemon[redis]'."
        ),
    )
    url: Annotated[RedisUrl, RedisUrlForm()] = field(
        default=RedisUrl(),
        metadata=explain(
            "The address of Redis. redis:// is plain TCP, rediss:// is TLS, and unix:// a unix socket; a number at the end chooses the "
            "database. redis+sentinel:// names the Sentinels and the primary that they watch, redis+cluster:// some nodes of a cluster; "
            "rediss+sentinel:// and rediss+cluster:// are the same with TLS. A user of an ACL stands before an @."
        ),
    )
    password_file: SecretFile = field(
        default=None, metadata=explain("The file with the password of Redis: one line. Relative to this file. Empty: no password.")
    )
    sentinel_password_file: SecretFile = field(
        default=None, metadata=explain("The file with the password of the Sentinels, if they ask for one. Relative to this file.")
    )
    tls_ca: File = field(
        default=None,
        metadata=explain("The CA certificates that must have signed Redis' own. Empty: those of the system. Relative to this file."),
    )
    tls_certificate: File = field(
        default=None, metadata=explain("The certificate that the daemon shows to Redis, if Redis asks for one. Relative to this file.")
    )
    tls_key: File = field(default=None, metadata=explain("The private key of tls_certificate. Relative to this file."))
    prefix: Annotated[str, PrefixForm()] = field(
        default="wsdaemon",
        metadata=explain(
            "The names of all keys and channels begin with this and the path of the mount. Daemons that share rooms need the same prefix "
            "and the same paths; others need different ones."
        ),
    )
    acknowledge: Acknowledge = field(
        default=Acknowledge.PRIMARY,
        metadata=explain(
            "When the daemon acknowledges a publication. primary: when the primary has it. replica: when one replica has it too. A "
            "failover then seldom loses it, but that is no promise, because another replica may take over."
        ),
    )
    on_failover: OnFailover = field(
        default=OnFailover.RESET,
        metadata=explain(
            "How a room continues after another server took over, or Redis was restarted. reset: it begins a new epoch, and every member "
            "is told of a gap, because acknowledged messages may be lost. trust: the room continues, and no member learns of lost "
            "messages. Use trust only if Redis loses nothing (appendfsync always, and no failover)."
        ),
    )
    timeout: PositiveDuration = field(
        default=5.0,
        metadata=explain(
            "How long a publication or another request waits for Redis. After that its answer is the error unavailable, and a client "
            "without the subprotocol is closed with 1013. At most 60s, because after that a retry "
            "could be published twice."
        ),
    )
    when_lost: WhenLost = field(
        default=WhenLost.KEEP,
        metadata=explain(
            "How the daemon treats members when Redis is away. keep: members stay connected, and when Redis is back each gets the messages "
            "that it missed. close: the daemon closes them with 1013, over five seconds, so that they do not all come back at once."
        ),
    )
    readyz: bool = field(
        default=False,
        metadata=explain(
            "Let /readyz of the admin pages answer 503 while Redis is away. If it is on, one outage takes every daemon out of a balancer."
        ),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """A certificate without its key, TLS files without TLS, and a timeout that outlives the memory of publications."""
        if (self.tls_certificate is None) != (self.tls_key is None):
            given, other = ("tls_certificate", "tls_key") if self.tls_key is None else ("tls_key", "tls_certificate")
            yield (given,), f"expected {other} too"
        if not self.url.tls and self.tls_ca is not None:
            yield ("tls_ca",), "expected a url that begins with rediss"
        if not self.url.tls and self.tls_certificate is not None:
            yield ("tls_certificate",), "expected a url that begins with rediss"
        if self.url.user and self.password_file is None:
            yield ("url", "password_file"), "expected password_file too, because the url names a user"
        if self.sentinel_password_file is not None and self.url.layout is not RedisLayout.SENTINEL:
            yield ("sentinel_password_file",), "expected a url that begins with redis+sentinel or rediss+sentinel"
        if self.timeout > LONGEST_TIMEOUT:
            yield ("timeout",), f"expected {LONGEST_TIMEOUT:g}s at most"
