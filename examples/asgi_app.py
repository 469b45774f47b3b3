"""An ASGI application without a framework: a page, and a chat behind it. `twistd -n wsdaemon -c examples/asgi.ini` serves it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Send = Callable[[Event], Awaitable[None]]

PAGE = b"""<!doctype html><meta charset="utf-8"><title>Chat</title>
<form><input autofocus><button>Send</button></form><pre></pre>
<script>
const socket = new WebSocket(location.href.replace("http", "ws") + "chat");
const show = (line) => document.querySelector("pre").append(line + "\\n");
socket.onmessage = (event) => show(event.data);
socket.onclose = (event) => show("closed: " + event.code);
document.querySelector("form").onsubmit = (event) => {
    event.preventDefault();
    socket.send(event.target[0].value);
    event.target[0].value = "";
};
</script>
"""


async def app(scope: Event, receive: Callable[[], Awaitable[Event]], send: Send) -> None:
    """Serve one client, or the daemon's start and end."""
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["members"] = set()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["type"] == "http":
        found = scope["path"] == "/"
        headers = [(b"content-type", b"text/html; charset=utf-8" if found else b"text/plain")]
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE if found else b"not found\n"})
    else:
        await chat(scope["state"]["members"], receive, send)


async def chat(members: set[Send], receive: Callable[[], Awaitable[Event]], send: Send) -> None:
    """Pass each message on to all members."""
    await receive()
    await send({"type": "websocket.accept"})
    members.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            for member in list(members):
                try:
                    await member({"type": "websocket.send", "text": event.get("text") or ""})
                except OSError:
                    members.discard(member)
    finally:
        members.discard(send)
