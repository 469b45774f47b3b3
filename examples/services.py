"""The services behind examples/hosting.ini: a TCP echo on port 9001 and a WebSocket server on port 9002. Needs the package websockets."""

import asyncio

from websockets.asyncio.server import ServerConnection, serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def answer(connection: ServerConnection) -> None:
    request = connection.request
    assert request is not None
    await connection.send(f"{request.path}, for {request.headers['X-Forwarded-For']}")
    async for message in connection:
        await connection.send(message)


async def main() -> None:
    async with await asyncio.start_server(echo, "127.0.0.1", 9001), serve(answer, "127.0.0.1", 9002):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main())
