"""socketify, which is uWebSockets: echo at every path but two, fan-out from /pub to /sub by its own topics."""

from __future__ import annotations

from typing import Any

from peer import MAX_MESSAGE, options
from socketify import App, AppListenOptions, AppOptions, CompressOptions

TOPIC = "bench"

chosen = options()
tls = AppOptions(cert_file_name=chosen.certificate, key_file_name=chosen.key) if chosen.certificate else None
app = App(tls)


def upgrade(response: Any, request: Any, context: Any) -> None:
    key, subprotocol, extensions = (request.get_header(f"sec-websocket-{name}") for name in ("key", "protocol", "extensions"))
    response.upgrade(key, subprotocol, extensions, context, request.get_url())


def opened(connection: Any) -> None:
    if connection.get_user_data() == "/sub":
        connection.subscribe(TOPIC)


def received(connection: Any, message: str | bytes, opcode: int) -> None:
    if connection.get_user_data() == "/pub":
        app.publish(TOPIC, message, opcode, chosen.deflate)
    else:
        connection.send(message, opcode, chosen.deflate)


behaviour = {
    "compression": CompressOptions.DEDICATED_COMPRESSOR if chosen.deflate else CompressOptions.DISABLED,
    "max_payload_length": MAX_MESSAGE, "max_backpressure": 4 * MAX_MESSAGE, "idle_timeout": 0,
    "upgrade": upgrade, "open": opened, "message": received,
}  # fmt: skip
app.ws("/*", behaviour)
app.listen(AppListenOptions(port=chosen.port, host="127.0.0.1"), lambda config: None)
app.run()
