"""The form of `[daemon] control`, the address of the control channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from wsdaemon.settings.addresses import AddressForm, UnixAddress, parse_address
from wsdaemon.settings.form import Form
from wsdaemon.settings.problems import BadValue, did_you_mean

AUTO: Final = "auto"
"""The daemon chooses the path."""

NONE: Final = "none"
"""There is no control channel."""

CONTROL_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class ControlForm(Form[UnixAddress | str]):
    """`auto`, `none` or `unix:PATH`. In Python also a UnixAddress; its mode is always 600."""

    @property
    def expected(self) -> str:
        return "auto, none or unix:/PATH"

    def parse(self, text: str) -> UnixAddress | str:
        if text.lower() in (AUTO, NONE):
            return text.lower()
        if not text.startswith("unix:"):
            raise self.refusal(did_you_mean(text, (AUTO, NONE)))
        try:
            address = parse_address(text)
        except BadValue:
            raise self.refusal() from None
        return self.accept(address)

    def accept(self, value: object) -> UnixAddress | str:
        if not isinstance(value, UnixAddress):
            raise self.refusal()
        if value.user is not None or value.group is not None or value.mode not in (CONTROL_MODE, UnixAddress("").mode):
            raise BadValue(f"expected {self.expected}; the socket's mode is always 600, and its owner the user of the daemon")
        return replace(value, mode=CONTROL_MODE)

    def locate(self, value: UnixAddress | str, directory: Path) -> UnixAddress | str:
        if isinstance(value, str):
            return value
        located = AddressForm().locate(value, directory)
        assert isinstance(located, UnixAddress)
        return located

    def show(self, value: UnixAddress | str) -> str:
        return value if isinstance(value, str) else str(replace(value, mode=CONTROL_MODE))


Control: TypeAlias = Annotated[UnixAddress | str, ControlForm()]
