"""A worker that follows a room for ever: it misses no message without being told, over any number of lost connections.

    python examples/follow_room.py ws://127.0.0.1:8080/chat lobby

Each message is printed with its position. `GAP` stands where the room no longer has all messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

from wsdaemon.client import RoomGap, WebSocketClient


async def follow(url: str, room: str) -> None:
    client = WebSocketClient(
        url,
        on_reconnect=lambda client, attempt, delay: print(f"attempt {attempt} in {delay:.1f} s", file=sys.stderr),
        on_error=lambda client, error: print(error, file=sys.stderr),
    )
    subscription = client.rooms[room].subscribe()
    async with client:
        async for item in subscription:
            if isinstance(item, RoomGap):
                print("GAP", item.epoch, item.offset)
            else:
                print(item.epoch, item.offset, item.data)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(follow(sys.argv[1], sys.argv[2]))
