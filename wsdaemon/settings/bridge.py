"""The options of the app bridge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.form import ListForm
from wsdaemon.settings.schema import explain
from wsdaemon.settings.target_tls import TargetTlsOptions
from wsdaemon.settings.targets import Allowed, AllowedForm, StreamTarget, StreamTargetForm
from wsdaemon.settings.values import File, PositiveDuration


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeOptions(TargetTlsOptions):
    """The options of the app bridge."""

    target: Annotated[tuple[StreamTarget, ...], ListForm(StreamTargetForm())] = field(
        default=(),
        metadata=explain(
            "The server that each client of the mount is connected to. If there are several, they are tried in this order. HOST and PORT "
            "may be parameters of the mount's path; then allow_targets says which values are good."
        ),
    )
    tokens: File = field(
        default=None,
        metadata=explain(
            "A file, or a directory of files, with lines `token: host:port`, as websockify reads them. A client names its token in the "
            "parameter token of the mount's path, or in the query, ?token=. Changed files are read again."
        ),
    )
    allow_targets: Annotated[tuple[Allowed, ...], ListForm(AllowedForm())] = field(
        default=(),
        metadata=explain(
            "The targets that a client may choose by the parameters of the mount's path. Names are also judged by their addresses."
        ),
    )
    connect_timeout: PositiveDuration = field(
        default=5.0, metadata=explain("How long the connection to the target may take. After that the client is answered 504.")
    )
    send_proxy: Literal["off", "v1", "v2"] = field(
        default="off", metadata=explain("Tell the target the client's address, with a PROXY header of version 1 or 2, before all else.")
    )

    def descriptors(self, connections: int) -> int:
        return connections

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if not self.target and self.tokens is None:
            yield ("target", "tokens"), "missing key; expected tcp:HOST:PORT, tls:HOST:PORT or unix:/PATH, or tokens"
        if self.target and self.tokens is not None:
            yield ("tokens", "target"), "expected either tokens or target"
        if any(target.placeholders for target in self.target) and not self.allow_targets:
            yield ("target", "allow_targets"), "expected allow_targets too, because clients choose the target"
        yield from TargetTlsOptions.conflicts(self)
