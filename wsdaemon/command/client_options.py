"""The options of all commands that connect as a client, and the client that they make."""

from __future__ import annotations

import os
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..settings.problems import SettingsError
from .exits import CommandFailed, Exit

if TYPE_CHECKING:
    from ..client import WebSocketClient
    from ..client.options import ClientOptions

PASSWORD_VARIABLE = "WSDAEMON_PASSWORD"  # noqa: S105 - the name of the variable
TOKEN_VARIABLE = "WSDAEMON_TOKEN"  # noqa: S105

LONGEST_SECRET_FILE = 64 * 1024
"""Bytes of a file with a token."""

FILE = click.Path(exists=True, dir_okay=False)

_OPTIONS = (
    click.option("-s", "--subprotocol", "subprotocols", multiple=True, metavar="NAME", help="Offer this subprotocol. May be repeated."),
    click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Send this request header. May be repeated."),
    click.option("--origin", metavar="ORIGIN", help="Send this Origin."),
    click.option("--cookie", "cookies", multiple=True, metavar="NAME=VALUE", help="Send this cookie. May be repeated."),
    click.option(
        "-u", "--user", metavar="NAME[:PASSWORD]",
        help=f"Authenticate with HTTP Basic. A password that is not given comes from {PASSWORD_VARIABLE}, or from the terminal.",
    ),
    click.option("--token", metavar="TOKEN", envvar=TOKEN_VARIABLE, help=f"Send a bearer token. Default: {TOKEN_VARIABLE}, if set."),
    click.option("--token-file", type=FILE, metavar="FILE", help="Send the bearer token in this file."),
    click.option("--compression/--no-compression", default=True, help="Offer permessage-deflate. Default: yes."),
    click.option("--ca", type=click.Path(exists=True), metavar="PATH", help="A file or folder of authorities, instead of the system's."),
    click.option("--insecure", is_flag=True, help="Take any certificate."),
    click.option("--cert", "--client-certificate", "cert", type=FILE, metavar="FILE", help="The client's own certificate, in PEM."),
    click.option("--key", "--client-key", "key", type=FILE, metavar="FILE", help="The key of --cert. Default: it is in the same file."),
    click.option("--proxy", metavar="URL", help="An HTTP or SOCKS proxy, or `environment` (needs the extra wsdaemon[proxy])."),
    click.option("--unix", type=click.Path(), metavar="PATH", help="Connect to this unix socket instead of the URL's host."),
    click.option("--connect-timeout", default="10s", metavar="TIME", help="How long connecting and the opening handshake may take each."),
    click.option("--max-message", default="16MiB", metavar="SIZE", help="The largest message that the server may send. Default: 16MiB."),
)  # fmt: skip


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command, which is given them as keyword arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


NAMES = (
    "subprotocols", "headers", "origin", "cookies", "user", "token", "token_file", "compression", "ca", "insecure", "cert", "key", "proxy",
    "unix", "connect_timeout", "max_message",
)  # fmt: skip
"""The keyword arguments of client_options."""


def make_client(url: str, given: Mapping[str, Any], callbacks: Mapping[str, Any], **more: Any) -> WebSocketClient:
    """The client for a URL and the options `given`. CommandFailed with the reason if there can be none."""
    from ..client import WebSocketClient

    try:
        headers = pairs(given["headers"], ":", "--header")
        cookies = dict(pairs(given["cookies"], "=", "--cookie"))
        if given["user"] is not None:
            headers.append(("Authorization", "Basic " + basic(given["user"])))
        options: ClientOptions = {
            "subprotocols": list(given["subprotocols"]), "compression": given["compression"], "max_message": given["max_message"],
            "connect_timeout": given["connect_timeout"], "handshake_timeout": given["connect_timeout"], "reconnect": False, **more,  # type: ignore[typeddict-item]
        }  # fmt: skip
        return WebSocketClient(
            url, headers=_together(headers), cookies=cookies or None, origin=given["origin"], token=token_of(given), tls=tls_of(given),
            proxy=given["proxy"], unix=given["unix"], **callbacks, **options,
        )  # fmt: skip
    except SettingsError as error:
        wrong = [f"--{(problem.key or '').replace('_', '-')}: {problem.message}" for problem in error.problems]
        raise CommandFailed("; ".join(wrong), Exit.USAGE) from None
    except (ValueError, OSError, ssl.SSLError) as error:
        raise CommandFailed(str(error), Exit.USAGE) from None


def pairs(given: tuple[str, ...], separator: str, option: str) -> list[tuple[str, str]]:
    """Names and values. ValueError."""
    found = []
    for text in given:
        name, between, value = text.partition(separator)
        if not between or not name.strip():
            raise ValueError(f"{option}: expected NAME{separator}VALUE")  # the value may be a secret
        found.append((name.strip(), value.strip()))
    return found


def _together(headers: list[tuple[str, str]]) -> dict[str, str]:
    """One line for each name; the values of a repeated one are joined (RFC 9110 5.3)."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        before = found.get(name.lower())
        found[name.lower()] = (name, value) if before is None else (before[0], f"{before[1]}, {value}")
    return dict(found.values())


def basic(user: str) -> str:
    """The credentials of HTTP Basic (RFC 7617). A password that is not given is asked for, unless the environment has it."""
    name, colon, password = user.partition(":")
    if not colon:
        known = os.environ.get(PASSWORD_VARIABLE)
        password = click.prompt(f"Password of {name}", hide_input=True, err=True) if known is None else known
    return b64encode(f"{name}:{password}".encode()).decode()


def token_of(given: Mapping[str, Any]) -> str | None:
    """The bearer token: of a file, of the command line, or of the environment. ValueError, OSError."""
    if given["token_file"] is None:
        return given["token"]  # type: ignore[no-any-return]
    return secret_in(given["token_file"])


def secret_in(path: str) -> str:
    """The one line of a file with a secret. ValueError, OSError."""
    with Path(path).open("rb") as file:
        content = file.read(LONGEST_SECRET_FILE + 1)
    lines = content.decode("ascii", "replace").strip().splitlines()
    if len(lines) != 1 or len(content) > LONGEST_SECRET_FILE:
        raise ValueError(f"{path}: expected one line with the token")
    return lines[0]


def trusting(ca: str | None) -> ssl.SSLContext:
    """A context that verifies by a file or folder of authorities; None: by those of the system. OSError."""
    folder = ca is not None and Path(ca).is_dir()
    return ssl.create_default_context(cafile=None if folder else ca, capath=ca if folder else None)


def tls_of(given: Mapping[str, Any]) -> ssl.SSLContext | None:
    """The TLS context of the options; None for the client's default. ValueError, OSError."""
    if given["key"] is not None and given["cert"] is None:
        raise ValueError("--key needs --cert")
    if given["insecure"] and given["ca"] is not None:
        raise ValueError("--insecure takes any certificate, and --ca does not: choose one")
    if not given["insecure"] and given["ca"] is None and given["cert"] is None:
        return None
    context = trusting(given["ca"])
    context.set_alpn_protocols(["http/1.1"])
    if given["insecure"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given["cert"] is not None:
        context.load_cert_chain(given["cert"], given["key"])
    return context


def failure_of(error: BaseException) -> CommandFailed:
    """The end of a command whose client has failed for good."""
    from ..client import BadHandshake, ClientError, OpeningRefused

    if isinstance(error, OpeningRefused):
        body = error.body.decode("utf-8", "replace").strip().partition("\n")[0][:200]
        told = body.isprintable() and body != f"{error.status} {error.phrase}"
        text = f"{error}: {body}" if body and told else str(error)
        return CommandFailed(text, Exit.REFUSED)
    if isinstance(error, BadHandshake):
        return CommandFailed(str(error), Exit.REFUSED)
    return CommandFailed(str(error), Exit.UNREACHABLE if isinstance(error, ClientError) else Exit.FAILED)
