"""Names that a mounted Autobahn class may not have: it shares its object with our wire, and would take something of ours away."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator

from autobahn.twisted.websocket import WebSocketServerProtocol

from .mounted import AutobahnWire

AUTOBAHNS = frozenset(
    {
        "_transport_details",
        "control_frame_data",
        "current_frame",
        "data",
        "http_response_data",
        "inside_message",
        "is_closed",
        "is_open",
        "message_data",
        "send_queue",
        "send_state",
        "state",
        "triggered",
        "utf8validator",
        "websocket_extensions_in_use",
        "websocket_protocol_in_use",
        "websocket_version",
    }
)
"""Attributes that Autobahn sets on its objects, and for which the wire has a value for all of them. Its other names are in camel case."""

OURS = frozenset(
    name
    for each in AutobahnWire.__mro__
    if each.__module__.startswith(f"{__package__}.")
    for name in {*vars(each), *getattr(each, "__annotations__", ())} - AUTOBAHNS
    if name == name.lower() and not name.startswith("__") and not hasattr(WebSocketServerProtocol, name)
)
"""Methods and attributes of the wire that Autobahn's own classes do not have."""


def clashes(mounted: type[WebSocketServerProtocol]) -> list[str]:
    """What the class, or a base of its own, defines or assigns on `self` that is ours; sorted, empty when all is well."""
    own = [each for each in mounted.__mro__ if not issubclass(WebSocketServerProtocol, each)]
    found = {name for each in own for name in vars(each) if name in OURS}
    for each in own:
        for function in vars(each).values():
            if inspect.isfunction(function):
                found.update(name for name in _assigned_to_self(function) if name in OURS)
    return sorted(found)


def _assigned_to_self(function: object) -> Iterator[str]:
    """Attributes that a method sets on its first argument, as far as its code shows."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_argcount:
        return
    before = None
    for instruction in dis.get_instructions(code):
        loaded = before.argval if before is not None else None
        if instruction.opname == "STORE_ATTR" and (loaded[-1] if isinstance(loaded, tuple) else loaded) == code.co_varnames[0]:
            yield str(instruction.argval)
        if instruction.opname not in ("CACHE", "EXTENDED_ARG"):
            before = instruction
