"""From the settings of a mount with `app = bridge` to the app."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, cast

from twisted.logger import Logger

from ..apps.bridge import BridgeApp, BridgeRules, Tokens, TokensError
from ..apps.loading import LoadError
from ..core.contract import Failed
from ..core.dialing import Dialing
from ..core.rare_lines import RareLines
from ..settings.bridge import BridgeOptions
from ..settings.model import MountSettings
from ..settings.paths import parameters
from ..settings.target_tls import TargetTlsOptions


class HasPlaceholders(Protocol):
    """A target in settings. `placeholders` are the parameters of the mount's path that stand in it."""

    @property
    def placeholders(self) -> Iterable[str]: ...


def make_bridge(settings: MountSettings, failed: Failed, grace: Callable[[], float], brokers: object = None) -> BridgeApp:
    """The app bridge. LoadError for files that cannot be used, parameters that the path has not, and a policy that drops messages."""
    options = cast(BridgeOptions, settings.options)
    check_nothing_is_dropped(settings)
    check_placeholders(settings, options.target)
    lines = RareLines(Logger(namespace="wsdaemon.bridge"))
    tls = any(target.kind == "tls" for target in options.target) or options.tokens is not None
    rules = BridgeRules(
        mount=settings.path,
        targets=options.target,
        tokens=None if options.tokens is None else make_tokens(options.tokens, lines),
        allowed=options.allow_targets,
        dialing=dialing_of(options, tls),
        connect_timeout=options.connect_timeout,
        proxy_version={"off": 0, "v1": 1, "v2": 2}[options.send_proxy],
    )
    return BridgeApp(rules, lines)


def check_nothing_is_dropped(settings: MountSettings) -> None:
    """LoadError if the mount's slow_client drops messages: the two ends of a stream would take what is left for the whole."""
    if settings.slow_client.drops:
        raise LoadError(settings.slow_client.value, "a stream may lose no bytes; expected close or wait", "slow_client")


def check_placeholders(settings: MountSettings, targets: Iterable[HasPlaceholders]) -> None:
    """LoadError if a target names a parameter that the path of the mount has not."""
    known = parameters(settings.path)
    for target in targets:
        for name in target.placeholders:
            if name not in known:
                raise LoadError(str(target), f"the path of the mount has no parameter {{{name}}}", "target")


def make_tokens(path: Path, lines: RareLines) -> Tokens:
    try:
        return Tokens(path, lines)
    except TokensError as error:
        raise LoadError(str(path), str(error), "tokens") from None


def dialing_of(options: TargetTlsOptions, tls: bool) -> Dialing:
    """The way to targets, of which some speak TLS if `tls`. LoadError if a file cannot be used."""
    context = client_context(options.target_ca, options.target_certificate, options.target_key) if tls else None
    return Dialing(context=context, server_name=options.target_name)


def client_context(authorities: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS 1.2 and later towards a target, whose certificate and name are verified. LoadError if a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise LoadError(str(authorities), _reason(error), "target_ca") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise LoadError(str(certificate), _reason(error), "target_certificate") from None
    return context


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"it cannot be used: {error.reason or error}"
    return f"it cannot be read: {error.strerror}"
