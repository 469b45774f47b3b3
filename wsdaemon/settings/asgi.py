"""The options of the app asgi."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from wsdaemon.settings.schema import SectionSettings, explain
from wsdaemon.settings.values import ReferenceForm, is_reference

_CALL = re.compile(r"\(\s*\)$")


class ApplicationForm(ReferenceForm):
    """`module:app`, or `module:make_app()` for a function that makes the application. In Python also the application itself."""

    @property
    def expected(self) -> str:
        return "module:app, or module:make_app() for a function that makes the application"

    def parse(self, text: str) -> object:
        if not text:
            return None
        if not is_reference(_CALL.sub("", text)):
            raise self.refusal()
        return _CALL.sub("()", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsgiOptions(SectionSettings):
    """The options of the app asgi."""

    application: Annotated[object, ApplicationForm()] = field(
        default=None,
        metadata=explain(
            "The ASGI application: module:app, or module:make_app() for a function that makes it. Mounts with the same application "
            "share one, and its lifespan. This key is required with app = asgi.",
            example="myproject.asgi:application",
        )
    )
    http: bool = field(
        default=False,
        metadata=explain(
            "Whether the application serves plain HTTP at this mount, too; max_message is then the longest body of a request. off: a "
            "request that asks for no WebSocket is answered 426."
        ),
    )
    lifespan: Literal["auto", "on", "off"] = field(
        default="auto",
        metadata=explain(
            "Whether the application is told of the start and the end of the daemon. auto: an application that does not know the "
            "lifespan goes without it. on: such an application keeps the daemon from starting. off: no application is told."
        ),
    )

    def conflicts(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """There is nothing to run without an application."""
        if self.application is None:
            yield ("application",), f"missing key; expected {ApplicationForm().expected}"
