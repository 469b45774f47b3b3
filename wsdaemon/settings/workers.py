"""The number of workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from wsdaemon.settings.form import Form, WholeForm
from wsdaemon.settings.problems import BadValue

MAX_WORKERS: Final = 256

AUTO: Final = "auto"
"""As many workers as CPUs."""


@dataclass(frozen=True, slots=True)
class WorkersForm(Form[int | str | None]):
    """How many processes serve: a number, auto for as many as CPUs, or nothing for the one process that has no supervisor."""

    @property
    def expected(self) -> str:
        return f"auto, a whole number from 1 to {MAX_WORKERS}, or nothing"

    def parse(self, text: str) -> int | str | None:
        if not text or text.lower() == AUTO:
            return text.lower() or None
        try:
            return WholeForm(1, MAX_WORKERS).parse(text)
        except BadValue:
            raise self.refusal() from None

    def accept(self, value: object) -> int | str | None:
        if value is None:
            return None
        try:
            return WholeForm(1, MAX_WORKERS).accept(value)
        except BadValue:
            raise self.refusal() from None

    def show(self, value: int | str | None) -> str:
        return "" if value is None else str(value)


Workers: TypeAlias = Annotated[int | str | None, WorkersForm()]
