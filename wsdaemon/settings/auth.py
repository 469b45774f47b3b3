"""The ways to find out who a client is: one frozen dataclass for each kind of [auth:NAME] section.

The section's `kind` chooses the dataclass; each of its fields with `explain(...)` is a key, as everywhere in `model`. A new kind is a new
dataclass, named in AUTH_KINDS, and an authenticator for it in `edge.auth`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, TypeAlias
from urllib.parse import urlsplit

from wsdaemon.settings.form import ChoiceForm, Form, ListForm
from wsdaemon.settings.problems import Refused, did_you_mean
from wsdaemon.settings.schema import Key, SectionSettings, explain
from wsdaemon.settings.values import Count, Duration, File, PositiveCount, PositiveDuration, WholeForm

if TYPE_CHECKING:
    from wsdaemon.settings.listener import ListenerSettings
    from wsdaemon.settings.model import MountSettings

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
    """What stands in quotes in a WWW-Authenticate header: printable ASCII without quotes and backslashes."""

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
    """An http or https URL. It has no user and password: secrets do not stand in the INI file."""

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
    """Where a token is looked for. `name` is that of the cookie or query parameter, or what stands before the token in a subprotocol."""

    where: Literal["header", "cookie", "query", "subprotocol"]
    name: str = ""

    def __str__(self) -> str:
        return f"{self.where}:{self.name}" if self.name else self.where


@dataclass(frozen=True, slots=True)
class TokenSourceForm(Form[TokenSource]):
    """Where a token is looked for, as `where` or `where:name`. In Python a TokenSource too."""

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
        if not is_auth_name(text):
            raise self.refusal()
        return text


def is_auth_name(text: str) -> bool:
    """Whether `text` may be the NAME of [auth:NAME]."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text, re.ASCII) is not None


Realm: TypeAlias = Annotated[str, RealmForm('up to 100 printable ASCII characters without " and \\', empty=False)]
Algorithms: TypeAlias = Annotated[tuple[str, ...], ListForm(AlgorithmForm())]
TokenSources: TypeAlias = Annotated[tuple[TokenSource, ...], ListForm(TokenSourceForm())]
HeaderName: TypeAlias = Annotated[str, HeaderNameForm()]
HeaderNames: TypeAlias = Annotated[tuple[str, ...], ListForm(HeaderNameForm("names of headers"))]
AuthNames: TypeAlias = Annotated[tuple[str, ...], ListForm(AuthNameForm())]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings(SectionSettings):
    """[auth:NAME]: a way to find out who a client is."""

    kind: ClassVar[str]
    needs: ClassVar[Mapping[str, str]] = {}
    """Packages that the kind needs, by the name they are imported by."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicAuthSettings(AuthSettings):
    """[auth:NAME] of the kind basic: user and password, checked against an htpasswd file."""

    kind: ClassVar[str] = "basic"
    needs: ClassVar[Mapping[str, str]] = {"argon2": "argon2-cffi", "bcrypt": "bcrypt"}

    file: File = field(
        metadata=explain(
            "The htpasswd file: a line with user:hash for each user, the hash made by bcrypt (htpasswd -B) or argon2. It is read again "
            "when it changes. Relative to this file.",
            example="htpasswd",
        )
    )
    realm: Realm = field(default="wsdaemon", metadata=explain("What clients may show to a user who is asked for the password."))
    remember: Duration = field(
        default=60.0, metadata=explain("How long a password that was right is not hashed again. 0: hash it each time.")
    )
    threads: Annotated[int, WholeForm(1, 64)] = field(default=2, metadata=explain("How many passwords may be hashed at once."))
    max_waiting: Count = field(default=100, metadata=explain("How many may wait for that. Whoever comes after them is answered 503."))

    failures_per_minute: Count = field(
        default=10,
        metadata=explain(
            "How many wrong passwords may come from one client address in a minute, in the long run, and at once after a pause; of IPv6 "
            "addresses those of one /64 count together. Beyond that every password from there, the right one too, is answered 429, and "
            "not checked. Whom the listener's limits on addresses do not count, this does not count either. 0: no limit."
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
        metadata=explain("The algorithms that a token may be signed with. Each key works with one of them alone.", example="RS256")
    )
    key_file: File = field(
        default=None,
        metadata=explain(
            "The key: for RS256 and ES256 the public key or a certificate as PEM, for HS256 a secret of at least 32 bytes. It is read "
            "again when it changes. Either this or jwks_file. Relative to this file."
        ),
    )
    jwks_file: File = field(
        default=None,
        metadata=explain("Keys as a JWK Set (RFC 7517), found by the kid of the token. Read again when it changes. Relative to this file."),
    )
    issuer: Annotated[str, TextForm("the iss claim of the tokens")] = field(
        default="",
        metadata=explain("Who must have issued the token. A token of another issuer is left to the mount's other ways. Empty: anybody."),
    )
    audience: Annotated[tuple[str, ...], ListForm(TextForm("the aud claim of the tokens", empty=False))] = field(
        default=(),
        metadata=explain("Whom the token must be for; one of these is enough. Empty: only tokens without an audience are taken."),
    )
    leeway: Duration = field(default=30.0, metadata=explain("How far the clocks may be apart when times in a token are looked at."))
    require_expiry: bool = field(default=True, metadata=explain("Refuse tokens that never end."))
    identity_claim: Annotated[str, TextForm("the name of a claim", empty=False)] = field(
        default="sub", metadata=explain("The claim that says who the client is.")
    )
    token_from: TokenSources = field(
        default=(TokenSource("header"),),
        metadata=explain(
            "Where the token is looked for, in this order. header: Authorization: Bearer TOKEN. cookie:NAME and query:NAME: a cookie or a "
            "query parameter of that name. subprotocol:PREFIX: a subprotocol that is PREFIX and the token, which is how a browser can "
            "send one; it must offer another subprotocol beside it, which the mount chooses."
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
            "What in the certificate says who the client is. name: the first DNS name, e-mail address or URI of its subjectAltName. "
            "fingerprint: its SHA-256, in hex."
        ),
    )
    allow: Annotated[tuple[str, ...], ListForm(TextForm("identities", empty=False))] = field(
        default=(), metadata=explain("Who may come in. Empty: everybody whose certificate the listener takes.")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAuthSettings(AuthSettings):
    """[auth:NAME] of the kind http: another server is asked with the headers of the request; 2xx lets the client in, 401 and 403 do not.
    Whoever lists it asks it about every client that no way before it knew."""

    kind: ClassVar[str] = "http"
    needs: ClassVar[Mapping[str, str]] = {"h11": "h11"}

    url: Annotated[str, UrlForm()] = field(metadata=explain("The URL that is asked, with GET.", example="http://127.0.0.1:9000/auth"))
    timeout: PositiveDuration = field(
        default=5.0, metadata=explain("How long the whole answer may take. Then the client is answered 503, as for any failure.")
    )
    identity_header: HeaderName = field(
        default="X-Auth-User",
        metadata=explain("The header of the answer that says who the client is; an answer without it is a failure. Empty: none."),
    )
    claim_headers: HeaderNames = field(
        default=(), metadata=explain("Headers of the answer that reach the app as claims, by their names in lower case.")
    )
    ca_file: File = field(
        default=None,
        metadata=explain("The CAs that the server's certificate may come from, as PEM. Empty: those of the system. Relative to this file."),
    )
    max_requests: Annotated[int, WholeForm(1, 1000)] = field(
        default=16, metadata=explain("How many requests may be under way at once, each on a connection of its own that is then kept.")
    )
    max_waiting: Count = field(default=1000, metadata=explain("How many may wait for that. Whoever comes after them is answered 503."))


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketAuthSettings(AuthSettings):
    """[auth:NAME] of the kind ticket: a one-time ticket from the daemon's own API, in the query parameter ticket."""

    kind: ClassVar[str] = "ticket"

    lifetime: PositiveDuration = field(default=30.0, metadata=explain("How long a ticket may be used after it was made."))
    max_tickets: PositiveCount = field(default=10_000, metadata=explain("How many unused tickets there may be. Over it none is made."))


AUTH_KINDS: Mapping[str, type[AuthSettings]] = MappingProxyType(
    {each.kind: each for each in (BasicAuthSettings, JwtAuthSettings, TlsAuthSettings, HttpAuthSettings, TicketAuthSettings)}
)

KIND_KEY = Key(
    name="kind",
    form=ChoiceForm(tuple(AUTH_KINDS)),
    default=MISSING,
    help="How the client is recognised.",
    inherited=False,
    example="basic",
)


def kind_of(value: object) -> type[AuthSettings]:
    """The dataclass of a section's `kind`. Raises Refused."""
    found: str = KIND_KEY.form.convert(value)
    if found not in AUTH_KINDS:
        raise Refused(f"expected {KIND_KEY.form.expected}")
    return AUTH_KINDS[found]


def auth_warnings(ways: Sequence[AuthSettings], mounts: Sequence[MountSettings], listeners: Sequence[ListenerSettings]) -> Iterable[str]:
    """Ways that nobody uses, or that nobody can use as the rest is set."""
    asked = any(listener.client_certificate != "none" for listener in listeners)
    for way in ways:
        users = [mount for mount in mounts if way.name in mount.auth]
        if not users:
            yield f"[auth:{way.name}] is used by no mount"
        if users and isinstance(way, TlsAuthSettings) and not asked:
            yield f"[auth:{way.name}] takes certificates of clients, and no listener asks for them: see client_ca and client_certificate"
        if isinstance(way, JwtAuthSettings) and any(source.where == "subprotocol" for source in way.token_from):
            for mount in users:
                if not mount.subprotocols:
                    yield (
                        f"[mount:{mount.path}] has no subprotocols, and [auth:{way.name}] takes tokens from one: browsers end a connection "
                        "for which none of the offered is chosen"
                    )
