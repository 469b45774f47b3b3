"""Authentication: one frozen dataclass for each kind of [auth:NAME] section.

The section's `kind` chooses the dataclass; each of its fields with `explain(...)` is a key, as everywhere in `model`. A new kind is a new
dataclass, named in AUTH_KINDS, and an authenticator for it in `edge.auth`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from wsdaemon.settings.form import ChoiceForm, Form, ListForm
from wsdaemon.settings.network import is_section_name
from wsdaemon.settings.problems import BadValue, did_you_mean
from wsdaemon.settings.schema import Key, SectionSettings, explain
from wsdaemon.settings.values import Count, Duration, File, PathForm, PositiveCount, PositiveDuration, WholeForm

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

ALGORITHMS = ("HS256", "RS256", "ES256")

SOURCES = ("header", "cookie", "query", "subprotocol")


@dataclass(frozen=True, slots=True)
class TextForm(Form[str]):
    """Any text. `empty` says whether it may be left empty."""

    noun: str
    empty: bool = True

    @property
    def expected(self) -> str:
        return self.noun + (", or nothing" if self.empty else "")

    def parse(self, text: str) -> str:
        if not text and not self.empty:
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True)
class RealmForm(TextForm):
    """The quoted realm of a WWW-Authenticate header: printable ASCII without quotes and backslashes."""

    def parse(self, text: str) -> str:
        if re.fullmatch(r"[ !#-\[\]-~]{1,100}", text) is None:
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True)
class HeaderNameForm(Form[str]):
    """The name of a header, or nothing."""

    noun: str = "the name of a header, or nothing"

    @property
    def expected(self) -> str:
        return self.noun

    def parse(self, text: str) -> str:
        if text and _TOKEN.fullmatch(text) is None:
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True)
class AlgorithmForm(Form[str]):
    """A signature algorithm of RFC 7518 3.1."""

    @property
    def expected(self) -> str:
        return "HS256, RS256 or ES256"

    def parse(self, text: str) -> str:
        if text.upper() not in ALGORITHMS:
            raise self.refusal(did_you_mean(text, ALGORITHMS))
        return text.upper()


@dataclass(frozen=True, slots=True)
class UrlForm(Form[str]):
    """An http or https URL without user and password, because the INI file holds no secrets."""

    @property
    def expected(self) -> str:
        return "a URL such as http://127.0.0.1:9000/auth, without user, password and fragment"

    def parse(self, text: str) -> str:
        try:
            parts = urlsplit(text)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or "@" in parts.netloc or "#" in text or re.fullmatch(r"[!-~]+", text) is None:
            raise self.refusal()
        return text


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where to look for a token. `name` is the cookie, the query parameter, or the prefix of the subprotocol."""

    where: Literal["header", "cookie", "query", "subprotocol"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.where}:{self.name}" if self.name else self.where


@dataclass(frozen=True, slots=True)
class TokenSourceForm(Form[TokenSource]):
    """Where to look for a token, as `where` or `where:name`. In Python also a TokenSource."""

    defaults: ClassVar[Mapping[str, str]] = {"cookie": "token", "query": "token", "subprotocol": "bearer."}

    @property
    def expected(self) -> str:
        return "header, cookie:NAME, query:NAME or subprotocol:PREFIX"

    def parse(self, text: str) -> TokenSource:
        where, colon, name = text.partition(":")
        where = where.strip().lower()
        name = name.strip()
        if where not in SOURCES:
            raise self.refusal(did_you_mean(where, SOURCES))
        if colon and (where == "header" or _TOKEN.fullmatch(name) is None):
            raise self.refusal("; the header is always Authorization" if where == "header" else "")
        return TokenSource(where, name or self.defaults.get(where, ""))  # type: ignore[arg-type]

    def accept(self, value: object) -> TokenSource:
        if not isinstance(value, TokenSource):
            raise self.refusal()
        return self.parse(str(value))


@dataclass(frozen=True, slots=True)
class AuthNameForm(Form[str]):
    """The NAME of an [auth:NAME] section."""

    @property
    def expected(self) -> str:
        return "names of [auth:NAME] sections"

    def parse(self, text: str) -> str:
        if not is_section_name(text):
            raise self.refusal()
        return text


Realm: TypeAlias = Annotated[str, RealmForm('up to 100 printable ASCII characters without " and \\', empty=False)]
Algorithms: TypeAlias = Annotated[tuple[str, ...], ListForm(AlgorithmForm())]
TokenSources: TypeAlias = Annotated[tuple[TokenSource, ...], ListForm(TokenSourceForm())]
HeaderName: TypeAlias = Annotated[str, HeaderNameForm()]
HeaderNames: TypeAlias = Annotated[tuple[str, ...], ListForm(HeaderNameForm("names of headers"))]
AuthNames: TypeAlias = Annotated[tuple[str, ...], ListForm(AuthNameForm())]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings(SectionSettings):
    """[auth:NAME]: a way to authenticate clients."""

    kind: ClassVar[str]
    needs: ClassVar[Mapping[str, str]] = {}
    """The packages that the kind needs, by their import names."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuthSettings(AuthSettings):
    """[auth:NAME] of the kind basic: user and password, checked against an htpasswd file."""

    kind: ClassVar[str] = "basic"
    needs: ClassVar[Mapping[str, str]] = {"argon2": "argon2-cffi", "bcrypt": "bcrypt"}

    file: Annotated[Path, PathForm("the path of a file")] = field(
        metadata=explain(
            "The htpasswd file: one line of user:hash for each user, with the hash made by bcrypt (htpasswd -B) or argon2. The "
            "daemon reads a changed file by itself. Relative to this file.",
            example="htpasswd",
        )
    )
    realm: Realm = field(default="wsdaemon", metadata=explain("The realm that clients may show when they ask the user for the password."))
    remember: Duration = field(
        default=60.0,
        metadata=explain("How long a correct password is remembered, so that it is not hashed again. 0: it is hashed each time."),
    )
    threads: Annotated[int, WholeForm(1, 64)] = field(default=2, metadata=explain("How many passwords may be hashed at once."))
    max_waiting: Count = field(
        default=100, metadata=explain("How many clients may wait for that. Beyond that a new client is answered 503.")
    )

    failures_per_minute: Count = field(
        default=10,
        metadata=explain(
            "How many wrong passwords per minute one client address may send for one user; bursts of up to one minute's worth are "
            "allowed. The IPv6 addresses of one /64 count as one. Above this every password for that user from there, even a correct "
            "one, is answered 429 unchecked. Clients that the listener's limits on addresses do not count are not counted here "
            "either. 0: no limit."
        ),
    )

    address_failures_per_minute: Count = field(
        default=60,
        metadata=explain(
            "How many wrong passwords one client address may send per minute for all users together. Above this every password from "
            "there is answered 429 unchecked. All users behind a NAT share it. 0: no limit."
        ),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.file is None:
            yield ("file",), "expected the path of an htpasswd file"


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtAuthSettings(AuthSettings):
    """[auth:NAME] of the kind jwt: a signed token (RFC 7519)."""

    kind: ClassVar[str] = "jwt"
    needs: ClassVar[Mapping[str, str]] = {"cryptography": "cryptography", "jwt": "PyJWT"}

    algorithms: Algorithms = field(
        metadata=explain("The algorithms that a token may be signed with. Each key works with one of them only.", example="RS256")
    )
    key_file: File = field(
        default=None,
        metadata=explain(
            "The key: for RS256 and ES256 the public key or a certificate as PEM, for HS256 a secret of at least 32 bytes. The "
            "daemon reads a changed file by itself. Give either this or jwks_file. Relative to this file."
        ),
    )
    jwks_file: File = field(
        default=None,
        metadata=explain(
            "The keys as a JWK Set (RFC 7517); the token's kid chooses the key. The daemon reads a changed file by itself. Relative "
            "to this file."
        ),
    )
    issuer: Annotated[str, TextForm("the iss claim of the tokens")] = field(
        default="",
        metadata=explain(
            "The required iss claim. A token of another issuer is left to the mount's other [auth:NAME] sections. Empty: any issuer."
        ),
    )
    audience: Annotated[tuple[str, ...], ListForm(TextForm("the aud claim of the tokens", empty=False))] = field(
        default=(),
        metadata=explain("The accepted aud claims; a token must have one of them. Empty: only tokens without an audience are accepted."),
    )
    leeway: Duration = field(default=30.0, metadata=explain("How far the clocks may differ when the times in a token are checked."))
    require_expiry: bool = field(default=True, metadata=explain("Refuse tokens that never expire."))
    identity_claim: Annotated[str, TextForm("the name of a claim", empty=False)] = field(
        default="sub", metadata=explain("The claim that names the user.")
    )
    token_from: TokenSources = field(
        default=(TokenSource("header"),),
        metadata=explain(
            "Where to look for the token, in this order. header: Authorization: Bearer TOKEN. cookie:NAME and query:NAME: the "
            "cookie or query parameter of that name. subprotocol:PREFIX: an offered subprotocol that consists of PREFIX and the "
            "token, because a browser cannot set headers; the page must offer another subprotocol beside it, which the mount "
            "chooses."
        ),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if not self.algorithms:
            yield ("algorithms",), "expected at least one of HS256, RS256 and ES256"
        if (self.key_file is None) == (self.jwks_file is None):
            yield ("key_file", "jwks_file"), "expected either key_file or jwks_file"
        if not self.token_from:
            yield ("token_from",), "expected at least one place, such as header"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsAuthSettings(AuthSettings):
    """[auth:NAME] of the kind tls: the client's certificate, on a listener that asks for one."""

    kind: ClassVar[str] = "tls"
    needs: ClassVar[Mapping[str, str]] = {"cryptography": "cryptography"}

    identity: Annotated[str, ChoiceForm(("common_name", "subject", "name", "fingerprint"))] = field(
        default="common_name",
        metadata=explain(
            "The part of the certificate that names the user. common_name and subject: that of the subject. name: the first DNS "
            "name, e-mail address or URI of the subjectAltName. fingerprint: the SHA-256 of the certificate, in hex."
        ),
    )
    allow: Annotated[tuple[str, ...], ListForm(TextForm("identities", empty=False))] = field(
        default=(), metadata=explain("The identities that are let in. Empty: every certificate that the listener accepts.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAuthSettings(AuthSettings):
    """[auth:NAME] of the kind http: the daemon asks another server, with the headers of the request. 2xx lets the client in, 401 and 403
    do not. The server is asked about every client that no section listed before this one recognises."""

    kind: ClassVar[str] = "http"
    needs: ClassVar[Mapping[str, str]] = {"h11": "h11"}

    url: Annotated[str, UrlForm()] = field(
        metadata=explain("The URL that the daemon asks, with GET.", example="http://127.0.0.1:9000/auth")
    )
    timeout: PositiveDuration = field(
        default=5.0,
        metadata=explain("How long the whole answer may take. After that the client is answered 503, as for any failure of the server."),
    )
    identity_header: HeaderName = field(
        default="X-Auth-User",
        metadata=explain(
            "The header of the answer that names the user. An answer without it is a failure. Empty: the server names no user."
        ),
    )
    claim_headers: HeaderNames = field(
        default=(), metadata=explain("Headers of the answer that the app gets as claims, by their names in lower case.")
    )
    ca_file: File = field(
        default=None,
        metadata=explain(
            "The authorities that may have issued the server's certificate, as PEM. Empty: those of the system. Relative to this file."
        ),
    )
    max_requests: Annotated[int, WholeForm(1, 1000)] = field(
        default=16, metadata=explain("How many requests may be under way at once. Each uses a connection of its own, which is then kept.")
    )
    max_waiting: Count = field(
        default=1000, metadata=explain("How many clients may wait for that. Beyond that a new client is answered 503.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketAuthSettings(AuthSettings):
    """[auth:NAME] of the kind ticket: a one-time ticket from the daemon's admin API, in the query parameter ticket."""

    kind: ClassVar[str] = "ticket"

    lifetime: PositiveDuration = field(default=30.0, metadata=explain("How long a ticket is valid after it was made."))
    max_tickets: PositiveCount = field(
        default=10_000, metadata=explain("How many unused tickets may exist. Beyond that no ticket is made.")
    )


AUTH_KINDS: Mapping[str, type[AuthSettings]] = MappingProxyType(
    {each.kind: each for each in (BasicAuthSettings, JwtAuthSettings, TlsAuthSettings, HttpAuthSettings, TicketAuthSettings)}
)

KIND_KEY = Key(
    name="kind",
    form=ChoiceForm(tuple(AUTH_KINDS)),
    default=MISSING,
    help="The way to authenticate clients.",
    inherited=False,
    example="basic",
)


def kind_of(value: object) -> type[AuthSettings]:
    """The dataclass of a section's `kind`. Raises BadValue."""
    found: str = KIND_KEY.form.convert(value)
    if found not in AUTH_KINDS:
        raise BadValue(f"expected {KIND_KEY.form.expected}")
    return AUTH_KINDS[found]
