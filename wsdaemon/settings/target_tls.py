"""The options of an app that speaks TLS to servers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.targets import ServerNameForm
from wsdaemon.settings.values import File


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTlsOptions(SectionSettings):
    """TLS towards the targets of a mount: the last keys of its app's options."""

    target_ca: File = field(
        default=None,
        metadata=explain(
            "With tls: and wss: targets: the CA certificates that the target's may come from. Empty: the system's.", last=True
        ),
    )
    target_name: Annotated[str, ServerNameForm()] = field(
        default="",
        metadata=explain("With tls: and wss: targets: the name in the target's certificate, also sent as SNI. Empty: its host.", last=True),
    )
    target_certificate: File = field(
        default=None,
        metadata=explain("With tls: and wss: targets: a client certificate, with its chain, that the target may ask for.", last=True),
    )
    target_key: File = field(default=None, metadata=explain("The key of target_certificate.", last=True))

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if (self.target_certificate is None) != (self.target_key is None):
            yield ("target_certificate", "target_key"), "expected target_key too, because TLS needs both"
