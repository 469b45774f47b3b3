"""The admin pages as commands use them: where they are, the token, and one request after the other."""

from __future__ import annotations

import functools
import http.client
import ipaddress
import json
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import click

from ..settings.addresses import TcpAddress, UnixAddress
from ..settings.admin import MIN_TOKEN_CHARACTERS, is_token
from .client_options import FILE, secret_in, trusting
from .exits import CommandFailed, Exit
from .output import harmless
from .serving import config_option, settings_file

if TYPE_CHECKING:
    from ..settings.admin import AdminSettings
    from ..settings.model import Settings

URL_VARIABLE = "WSDAEMON_ADMIN_URL"
TOKEN_VARIABLE = "WSDAEMON_ADMIN_TOKEN"  # noqa: S105 - the name of the variable
CA_VARIABLE = "WSDAEMON_ADMIN_CA"
CERTIFICATE_VARIABLE = "WSDAEMON_ADMIN_CLIENT_CERTIFICATE"
KEY_VARIABLE = "WSDAEMON_ADMIN_CLIENT_KEY"

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Of one page."""

PAGE_ENTRIES = 1000
"""The most entries that the pages give at once."""

TIMEOUT_SECONDS = 30.0

_OPTIONS = (
    config_option,
    click.option(
        "--url", metavar="URL",
        help=f"The admin pages, as http://HOST:PORT or unix:PATH. Without it and --config: {URL_VARIABLE}, if set.",
    ),
    click.option(
        "--token-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
        help=f"The file with the admin token. Default: the file that --config names, else the token in {TOKEN_VARIABLE}, if set.",
    ),
    click.option(
        "--ca", type=click.Path(exists=True), metavar="PATH",
        help=f"For https with --url: authorities instead of the system's. Default: {CA_VARIABLE}, if set.",
    ),
    click.option(
        "--client-certificate", type=FILE, metavar="FILE", envvar=CERTIFICATE_VARIABLE,
        help=f"For https: your own certificate, in PEM. Default: {CERTIFICATE_VARIABLE}, if set.",
    ),
    click.option(
        "--client-key", type=FILE, metavar="FILE", envvar=KEY_VARIABLE,
        help=f"The key of --client-certificate. Default: {KEY_VARIABLE}, if set, else it is in the same file.",
    ),
)  # fmt: skip


class PagesChoice(NamedTuple):
    """The options by which a command line names the admin pages; None: not given."""

    config: str | None
    url: str | None
    token_file: str | None
    ca: str | None
    client_certificate: str | None
    client_key: str | None

    def pages(self) -> AdminPages:
        """The pages that they name. CommandFailed."""
        url = chosen_url(self.config, self.url)
        if url is None and self.ca is not None:
            raise CommandFailed("--ca needs --url: for the pages of an INI file the certificate in it is trusted", Exit.USAGE)
        if self.client_key is not None and self.client_certificate is None:
            raise CommandFailed("--client-key needs --client-certificate", Exit.USAGE)
        own = None if self.client_certificate is None else (self.client_certificate, self.client_key)
        return pages_of(self.config, self.url, self.token_file, self.ca or (os.environ.get(CA_VARIABLE) if url else None), own)


def admin_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name the admin pages. The command has them as `place`, a PagesChoice."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        place = PagesChoice(*(given.pop(name) for name in PagesChoice._fields))
        return command(place=place, **given)

    for option in reversed(_OPTIONS):
        gathered = option(gathered)
    return gathered


class UnixHttpConnection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_SECONDS)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminPages:
    """The place of the pages. `where` is shown in messages."""

    where: str
    url: str
    """http or https, host and port."""
    unix: str | None = None
    """The path of the unix socket to use instead of the URL's host."""
    tls: ssl.SSLContext | None = None
    """For https."""
    token: str | None = field(repr=False)
    host: str | None = None
    """The Host header, if it is not that of the URL."""

    def connect(self) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        if self.unix is not None:
            return UnixHttpConnection(self.unix)
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        if self.tls is None:
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS, context=self.tls)

    def get(self, path: str, **query: object) -> Any:
        """The JSON of a page. CommandFailed."""
        return self.ask("GET", path, query)

    def ask(
        self, method: str, path: str, query: Mapping[str, object] | None = None, body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:  # fmt: skip
        """The JSON of the answer. Parameters that are None are left out. CommandFailed if it is not a 200."""
        given = {name: str(value) for name, value in (query or {}).items() if value is not None}
        sent = dict(headers or {})
        if self.token is not None:
            sent["Authorization"] = f"Bearer {self.token}"
        if self.host is not None:
            sent["Host"] = self.host
        connection = self.connect()
        try:
            connection.request(method, f"{path}?{urlencode(given)}" if given else path, body, sent)
            answer = connection.getresponse()
            content = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise CommandFailed(f"{self.where}: {_why(error)}", Exit.UNREACHABLE) from None
        finally:
            connection.close()
        if len(content) > MAX_ANSWER_BYTES:
            raise CommandFailed(f"{self.where}: the answer is longer than {MAX_ANSWER_BYTES} bytes")
        return self._judged(answer.status, content)

    def _judged(self, status: int, content: bytes) -> Any:
        try:
            found = json.loads(content)
        except ValueError:
            found = None
        if status == http.client.OK and found is not None:
            return found
        detail = found.get("detail") or found.get("title") if isinstance(found, dict) else None
        text = f"{self.where}: {harmless(str(detail)) if detail else f'status {status}: these are no admin pages of wsdaemon'}"
        if isinstance(found, dict) and found.get("code") == "no_token":
            text = f"{self.where}: the pages want a token: --token-file FILE, or {TOKEN_VARIABLE}"
        refused = status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN)
        raise CommandFailed(text, Exit.REFUSED if refused else Exit.FAILED)

    def connections(self, most: int, **query: object) -> tuple[list[dict[str, Any]], int]:
        """Up to `most` open connections that match (0: all), and how many there are."""
        found: list[dict[str, Any]] = []
        after, count = "", 0
        while most == 0 or len(found) < most:
            limit = PAGE_ENTRIES if most == 0 else min(PAGE_ENTRIES, most - len(found))
            page = self.get("/api/connections", **query, after=after, limit=limit)
            found += page["connections"]
            count = page["count"]
            if not page.get("after") or page["after"] == after:
                break
            after = page["after"]
        return found, count


OwnCertificate = tuple[str, str | None]
"""The files of the client's own certificate and of its key. Without the second the key is in the first."""


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def pages_of(
    config: str | None, url: str | None, token_file: str | None, ca: str | None, own: OwnCertificate | None = None
) -> AdminPages:  # fmt: skip
    """The pages that a command line names. `own`: the client's certificate, for https. CommandFailed."""
    try:
        url = chosen_url(config, url)
        token = _token(token_file, config)
        if url is None:
            return _pages_in(settings_file(config), token, own)
        if token is None and config is not None:
            token = _token_of(_read(config)[1])
        return _pages_at(url, token, ca, own)
    except (ValueError, OSError) as error:
        raise CommandFailed(str(error), Exit.USAGE) from None


def chosen_url(config: str | None, url: str | None) -> str | None:
    """The URL of the command line, or of the environment, which does not prevail over an INI file that the command line names."""
    return os.environ.get(URL_VARIABLE) or None if url is None and config is None else url


def _token(file: str | None, config: str | None) -> str | None:
    """The token of a file, or of the environment unless an INI file is named. ValueError, which does not repeat it, and OSError."""
    if file is None and config is not None:
        return None
    found = os.environ.get(TOKEN_VARIABLE) if file is None else secret_in(file)
    if found is None:
        return None
    found = found.strip()
    if not is_token(found):
        raise ValueError(f"{file or TOKEN_VARIABLE}: expected a token of at least {MIN_TOKEN_CHARACTERS} letters, digits and -._~+/")
    return found


def _pages_at(url: str, token: str | None, ca: str | None, own: OwnCertificate | None) -> AdminPages:
    if url.startswith("unix:"):
        return AdminPages(where=url, url="http://localhost", unix=url.removeprefix("unix:"), token=token)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or (parts.port is not None and not parts.port):
        raise ValueError("--url: expected http://HOST:PORT, https://HOST:PORT or unix:PATH")
    tls = _presenting(trusting(ca), own) if parts.scheme == "https" else None
    return AdminPages(where=url, url=url.rstrip("/"), tls=tls, token=token)


def _presenting(context: ssl.SSLContext, own: OwnCertificate | None) -> ssl.SSLContext:
    """The context with the client's certificate. ValueError."""
    if own is not None:
        try:
            context.load_cert_chain(*own)
        except ssl.SSLError as error:
            hint = "expected a certificate in PEM with its key, which may be in --client-key"
            raise ValueError(f"{own[0]}: {hint} ({error.reason or error})") from None
    return context


def _read(file: str) -> tuple[Settings, AdminSettings]:
    """An INI file and its section [admin]. CommandFailed; its other problems are no concern of the pages."""
    from ..settings import ini

    settings, problems = ini.read(file)
    if settings is None:
        raise CommandFailed("\n".join(str(problem) for problem in problems))
    admin = settings.admin
    if admin is None:
        raise CommandFailed(f"{file} has no section [admin], and this command needs the admin pages; or give --url")
    if wrong := [str(problem) for problem in problems if problem.section == "admin"]:
        raise CommandFailed("\n".join(wrong))
    return settings, admin


def _token_of(admin: AdminSettings) -> str | None:
    return None if admin.token_file is None else admin.token_file.reveal()


def _pages_in(file: str, token: str | None, own: OwnCertificate | None) -> AdminPages:
    """The pages of an INI file."""
    settings, admin = _read(file)
    if token is None:
        token = _token_of(admin)
    match admin.address:
        case UnixAddress(path=path):
            return AdminPages(where=f"unix:{path}", url="http://localhost", unix=path, token=token)
        case TcpAddress(port=port, interface=interface) if port:
            host = _reachable(interface)
            secure = _context_of(settings, admin)
            where = f"{'http' if secure is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
            tls = None if secure is None else _presenting(secure, own)
            return AdminPages(where=where, url=where, tls=tls, token=token, host=_host_of(admin))
    raise CommandFailed(f"{file}: the port of {admin.address} is known to the system alone: give --url")


def _host_of(admin: AdminSettings) -> str | None:
    """A Host that the pages take: a name of the settings, or one that a wildcard stands for. None: they take that of the URL."""
    names = sorted(map(str, admin.hosts), key=lambda name: name.startswith("*"))
    return f"wsdaemon{names[0][1:]}" if names and names[0].startswith("*") else next(iter(names), None)


def _reachable(interface: str | None) -> str:
    """The address by which this machine reaches a listener."""
    if not interface:
        return "127.0.0.1"
    address = ipaddress.ip_address(interface.partition("%")[0])
    if address.is_unspecified:
        return "::1" if address.version == 6 else "127.0.0.1"
    return interface


def _context_of(settings: Settings, admin: AdminSettings) -> ssl.SSLContext | None:
    """The TLS context for pages of this machine: it takes the very certificates of the INI file, whatever names they have."""
    if not admin.secure:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for path in (admin.tls_certificate, *(each.certificate for each in settings.tls if each.name in admin.tls)):
        if path is not None:
            context.load_verify_locations(cafile=path)
    return context


def _why(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "no daemon has its admin pages there"
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT_SECONDS:g} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
