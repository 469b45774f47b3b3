"""Chooses the frame fast path: the C module `_frames` where it was built, else its twin in Python; for a server, or for a client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Protocol

import wsdaemon.wire.frames.twin as twin

RSV1 = twin.RSV1
TEXT = twin.TEXT
COMPRESSED = twin.COMPRESSED
longest_compressed = twin.longest_compressed

CHOICES = ("auto", "c", "python")

_HOW_TO_BUILD = "build it with `python hatch_build.py` in the source tree (needs a C compiler and Python's headers), or reinstall wsdaemon"


PlainHead = tuple[int, str, str, bytes, bytes, bytes, dict[bytes, list[str]]]
"""The parts of a request's head; described in `_frames.pyi`."""


class Partial(Protocol):
    """A data frame whose payload is still coming; described in `_frames.pyi`."""

    @property
    def missing(self) -> int: ...
    @property
    def valid(self) -> bool: ...
    @property
    def opcode(self) -> int: ...
    def feed(self, data: bytes, position: int, /) -> int: ...
    def room(self, keep: int = 0, /) -> memoryview: ...
    def received(self, count: int, /) -> None: ...
    def message(self) -> bytes | str: ...
    def replay(self) -> bytes: ...


class FrameMaker(Protocol):
    def __call__(self, opcode: int, payload: bytes, rsv1: bool = False) -> bytes: ...


class PieceMaker(Protocol):
    def __call__(self, opcode: int, payload: bytes, rsv1: bool = False) -> tuple[bytes, ...]: ...


class HeaderMaker(Protocol):
    def __call__(self, opcode: int, length: int, rsv1: bool = False) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Frames:
    """The functions of one of the twins; described in `_frames.pyi`. A client has other ones in the same places."""

    name: str
    """"c" or "python"."""
    reason: str
    """Why "auto" had to do without the C module; empty when it did not."""
    take: Callable[[bytes, int, int, int, int], tuple[list[object], int]]
    whole: Callable[[bytes, int, int], bytes | str | None]
    begin: Callable[[bytes, int, int, int], Partial | None]
    frame: FrameMaker
    pieces: PieceMaker
    """A frame with a large payload: the header beside the payload, without a copy; where frames are masked, one piece."""
    header: HeaderMaker
    send: Callable[[int, bytes], int]
    head: Callable[[bytes], PlainHead | None]
    """Reads the heads of most opening handshakes."""
    client: bool = False
    """Whether these are a client's: the frames that come are not masked, and those that leave are."""


class FramesUnavailable(ImportError):
    """The C module was asked for and cannot be used. The text says why and how to build it."""


def _import_c() -> ModuleType:
    """The C module. ImportError when there is none for this Python, or one that was built from another version of its source."""
    module = import_module("wsdaemon.wire.frames._frames")
    if module.INTERFACE != twin.INTERFACE:
        raise ImportError(f"{module.__file__} was built from another version of wsdaemon")
    return module


def _frames_of(module: ModuleType, name: str, reason: str = "") -> Frames:
    functions = {function: getattr(module, function) for function in ("take", "whole", "begin", "frame", "header", "send", "head")}
    return Frames(name=name, reason=reason, pieces=partial(_header_and_payload, module.header), **functions)


def _client_frames_of(module: ModuleType, name: str, reason: str = "") -> Frames:
    return Frames(
        name=name, reason=reason, take=module.take_unmasked, whole=module.whole_unmasked, begin=module.begin_unmasked,
        frame=module.masked_frame, pieces=partial(_one_piece, module.masked_frame), header=module.header, send=module.send,
        head=module.head, client=True,
    )  # fmt: skip


def _header_and_payload(header: HeaderMaker, opcode: int, payload: bytes, rsv1: bool = False) -> tuple[bytes, ...]:
    return header(opcode, len(payload), rsv1), payload


def _one_piece(frame: FrameMaker, opcode: int, payload: bytes, rsv1: bool = False) -> tuple[bytes, ...]:
    return (frame(opcode, payload, rsv1),)


def load(choice: str) -> Frames:
    """The fast path for `choice`: "auto" (C where it can be used), "c" (or FramesUnavailable) or "python"."""
    return _load(choice, _frames_of)


def load_client(choice: str) -> Frames:
    """As load(), for the connections of a client."""
    return _load(choice, _client_frames_of)


def _load(choice: str, frames_of: Callable[..., Frames]) -> Frames:
    if choice not in CHOICES:
        raise ValueError(f"choice must be one of {', '.join(CHOICES)}, not {choice!r}")
    if choice == "python":
        return frames_of(twin, "python")
    try:
        return frames_of(_import_c(), "c")
    except ImportError as error:
        if choice == "c":
            raise FramesUnavailable(f"the C module for frames cannot be used: {error}; {_HOW_TO_BUILD}") from error
        return frames_of(twin, "python", str(error))
