"""wire/frames/choice.py: which of the twins reads frames."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

import wsdaemon.wire.frames
from tests.wire.frames.test_twin_reading import client, needs_c
from wsdaemon.wire.frames import FramesUnavailable, load, twin


def without_c(monkeypatch: pytest.MonkeyPatch, stand_in: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "wsdaemon.wire.frames._frames", stand_in)
    monkeypatch.delattr(wsdaemon.wire.frames, "_frames", raising=False)


def stale() -> ModuleType:
    module = ModuleType("wsdaemon.wire.frames._frames")
    module.__file__ = "an/old/build.so"
    module.INTERFACE = twin.INTERFACE - 1  # type: ignore[attr-defined]
    return module


@needs_c
def test_the_c_module_is_the_first_choice() -> None:
    assert [load(choice).name for choice in ("auto", "c", "python")] == ["c", "c", "python"]
    assert load("auto").reason == ""


@pytest.mark.parametrize(("make", "reason"), [(lambda: None, "_frames"), (stale, "an/old/build.so was built from another version")])
def test_without_a_usable_c_module_the_reason_is_kept(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], ModuleType | None], reason: str
) -> None:
    without_c(monkeypatch, make())
    frames = load("auto")
    assert frames.name == "python" and reason in frames.reason
    assert frames.take(client(1, b"x"), 0, 9, 0, 9) == ([1, b"x"], 7)
    with pytest.raises(FramesUnavailable, match=r"python hatch_build\.py"):
        load("c")
    assert load("python").reason == ""


def test_an_unknown_choice_is_an_error() -> None:
    with pytest.raises(ValueError, match="auto, c, python"):
        load("fast")
