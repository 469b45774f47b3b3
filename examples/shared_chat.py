"""A chat: one program for all connections of a mount. `twistd -n wsdaemon -c examples/hosting.ini` serves it at /chat."""

import json
import sys

names: dict[str, str] = {}


def tell_all(text: str) -> None:
    print(json.dumps({"id": "*", "text": text}), flush=True)


for line in sys.stdin:
    event = json.loads(line)
    id = event["id"]
    if "open" in event:
        names[id] = event["open"]["query"] or "guest"
        tell_all(f"{names[id]} has come")
    elif "close" in event:
        tell_all(f"{names.pop(id)} has left")
    elif "text" in event:
        tell_all(f"{names[id]}: {event['text']}")
