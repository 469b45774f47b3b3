"""The format of a connection that goes to another process: one JSON object, and the byte strings that it is not fit for.

    2 bytes  "WH"
    2        version of the format
    4        length of the JSON object
             the JSON object; `sizes` has the lengths of the byte strings
             the byte strings, one after the other

Another version is refused. Numbers are in network order.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..core.handshake import Handshake, Headers, Peer
from ..core.identity import NO_CLAIMS, Identity
from ..core.wire_halves import Counts
from .deadlines import PingState
from .meter import MeterTokens

VERSION: Final = 1
"""Version of the format."""

MAX_HANDED_BYTES: Final = 2 * 1024 * 1024
"""One connection, in this format."""

MAX_HELD_MESSAGES: Final = 4096
"""Messages that were read and not yet received by the app."""

_HEAD = struct.Struct("!2sHI")
_MAGIC = b"WH"


class NotHandedOver(ValueError):
    """Not a connection in this format, or one in another version of it."""


class HeldMessage(NamedTuple):
    """A message, or control frame, that was read and not yet delivered. `opcode` has the reader's COMPRESSED bit."""

    opcode: int
    payload: bytes


class Agreed(NamedTuple):
    """The parameters of permessage-deflate that both sides agreed on (RFC 7692 7.1)."""

    server_window_bits: int
    client_window_bits: int
    server_no_context_takeover: bool
    client_no_context_takeover: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """One connection, without its socket. Its repr shows no header and no payload."""

    id: str
    age: float
    """Seconds since it was opened."""
    handshake: Handshake = field(repr=False)
    traffic: Counts
    app: str = ""
    """The app of its mount, as the settings name it: no other one goes on with its state."""
    pings: PingState | None = None
    agreed: Agreed | None = None
    tokens: MeterTokens | None = None
    fragments: int = 0
    """Fragments of the message under way."""
    warned: bool = False
    """Whether the session was told that the client's token ends soon."""
    window: bytes = field(default=b"", repr=False)
    """The last bytes that the client sent compressed: its next message may refer to them."""
    state: bytes = field(default=b"", repr=False)
    """The app's own."""
    unread: bytes = field(default=b"", repr=False)
    """Bytes of the client that were read from the socket and not yet parsed."""
    unsent: bytes = field(default=b"", repr=False)
    """Bytes for the client that were not yet written to the socket."""
    held: tuple[HeldMessage, ...] = field(default=(), repr=False)


def can_be_carried(handshake: Handshake) -> bool:
    """Whether the claims of the client's identity can be written as JSON."""
    if handshake.identity is None:
        return True
    try:
        json.dumps(dict(handshake.identity.claims), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def encode(one: HandedOver) -> bytes:
    """Raises ValueError if it is more than MAX_HANDED_BYTES."""
    strings = [one.window, one.state, one.unread, one.unsent, *[message.payload for message in one.held]]
    fields = {
        "id": one.id, "age": one.age, "handshake": _handshake_fields(one.handshake), "traffic": one.traffic, "app": one.app,
        "pings": one.pings, "agreed": one.agreed, "tokens": one.tokens, "fragments": one.fragments, "warned": one.warned,
        "held": [message.opcode for message in one.held], "sizes": [len(each) for each in strings],
    }  # fmt: skip
    text = json.dumps(fields, separators=(",", ":"), allow_nan=False).encode("ascii")
    content = b"".join([_HEAD.pack(_MAGIC, VERSION, len(text)), text, *strings])
    if len(content) > MAX_HANDED_BYTES:
        raise ValueError(f"{len(content)} bytes; {MAX_HANDED_BYTES} are allowed")
    return content


def decode(content: bytes) -> HandedOver:
    """The connection in `content`. NotHandedOver for anything else."""
    try:
        magic, version, length = _HEAD.unpack_from(content)
        if magic != _MAGIC:
            raise NotHandedOver("not a connection")
        if version != VERSION:
            raise NotHandedOver(f"version {version} of the format; {VERSION} is spoken here")
        fields = json.loads(content[_HEAD.size : _HEAD.size + length])
        strings, at = [], _HEAD.size + length
        for size in fields["sizes"]:
            strings.append(content[at : at + size])
            at += size
        if at != len(content) or any(size < 0 for size in fields["sizes"]):
            raise NotHandedOver("the lengths are not those of the content")
        window, state, unread, unsent, *payloads = strings
        held = tuple([HeldMessage(opcode, payload) for opcode, payload in zip(fields["held"], payloads, strict=True)])
        return HandedOver(
            id=fields["id"], age=fields["age"], handshake=_handshake(fields["handshake"]), traffic=Counts(*fields["traffic"]),
            app=fields["app"], pings=_maybe(PingState, fields["pings"]), agreed=_maybe(Agreed, fields["agreed"]),
            tokens=_maybe(MeterTokens, fields["tokens"]), fragments=fields["fragments"], warned=fields["warned"],
            window=window, state=state, unread=unread, unsent=unsent, held=held,
        )  # fmt: skip
    except NotHandedOver:
        raise
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise NotHandedOver(str(error)) from error


def _maybe(made: Any, values: Any) -> Any:
    return None if values is None else made(*values)


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _handshake_fields(handshake: Handshake) -> dict[str, Any]:
    local, identity, gone = handshake.local, handshake.identity, handshake.was_let_go
    fields: dict[str, Any] = {
        "path": handshake.path, "raw_path": _text(handshake.raw_path), "params": dict(handshake.params),
        "peer": (handshake.peer.host, handshake.peer.port), "local": local if isinstance(local, str) else (local.host, local.port),
        "secure": handshake.secure, "http_version": handshake.http_version, "subprotocols": handshake.subprotocols,
        "subprotocol": handshake.subprotocol, "listener": handshake.listener, "mount": handshake.mount, "let_go": gone,
        "agent": handshake.user_agent, "trace": handshake.traceparent,
        "identity": None if identity is None else (identity.name, identity.method, dict(identity.claims), identity.expires),
    }  # fmt: skip
    if not gone:
        fields |= {"target": handshake.target, "query": _text(handshake.query_string), "headers": _text(handshake.headers.block)}
    return fields


def _handshake(fields: dict[str, Any]) -> Handshake:
    local, gone, who = fields["local"], fields["let_go"], fields["identity"]
    identity = None if who is None else Identity(who[0], who[1], who[2] or NO_CLAIMS, who[3])
    handshake = Handshake(
        target="" if gone else fields["target"], path=fields["path"], raw_path=fields["raw_path"].encode("latin-1"),
        query_string=b"" if gone else fields["query"].encode("latin-1"),
        headers=Headers() if gone else Headers.as_sent(fields["headers"].encode("latin-1")), params=fields["params"],
        peer=Peer(*fields["peer"]), local=local if isinstance(local, str) else Peer(*local), secure=fields["secure"], identity=identity,
        http_version=fields["http_version"], subprotocols=tuple(fields["subprotocols"]), subprotocol=fields["subprotocol"],
        listener=fields["listener"], mount=fields["mount"],
    )  # fmt: skip
    if gone:
        handshake.let_go(fields["agent"], fields["trace"])
    return handshake
