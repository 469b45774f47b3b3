"""Projects of the ASGI frameworks, as their documentation writes them. A daemon runs them unchanged; see tests/live/test_asgi.py."""

from __future__ import annotations

FASTAPI = '''
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, UploadFile
from fastapi import WebSocket, WebSocketDisconnect, WebSocketException
from fastapi.responses import StreamingResponse

story = []


@asynccontextmanager
async def lifespan(app):
    yield {"greeting": "hello"}
    print("fastapi has shut down")


app = FastAPI(lifespan=lifespan)


async def token(websocket: WebSocket):
    if websocket.query_params.get("token") == "bad":
        raise WebSocketException(code=1008, reason="bad token")
    if websocket.query_params.get("token") == "none":
        raise HTTPException(401, "who are you?", headers={"WWW-Authenticate": "Bearer"})


@app.websocket("/rooms/{room}", dependencies=[Depends(token)])
async def chat(websocket: WebSocket, room: str):
    await websocket.accept(subprotocol="chat" if "chat" in websocket.scope["subprotocols"] else None, headers=[(b"x-room", room.encode())])
    await websocket.send_json({"greeting": websocket.state.greeting, "room": room, "root": websocket.scope["root_path"]})
    try:
        while True:
            await websocket.send_text((await websocket.receive_text()).upper())
    except WebSocketDisconnect as end:
        story.append([end.code, end.reason])


@app.get("/story")
async def read(request: Request):
    return {"story": story, "client": request.client.host, "url": str(request.url_for("read"))}


@app.post("/files")
async def upload(file: UploadFile, tasks: BackgroundTasks):
    size = len(await file.read())
    tasks.add_task(story.append, ["uploaded", size])
    return {"name": file.filename, "size": size}


@app.get("/numbers")
async def numbers():
    async def rows():
        for number in range(1000):
            yield f"{number}\\n"

    return StreamingResponse(rows(), media_type="text/plain")
'''

STARLETTE = '''
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute


class Echo(WebSocketEndpoint):
    encoding = "bytes"

    async def on_receive(self, websocket, data):
        await websocket.send_bytes(data[::-1])


class Counted(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        size = len(await request.body())
        response = await call_next(request)
        response.headers["x-counted"] = str(size)
        return response


class Page(HTTPEndpoint):
    async def post(self, request):
        return JSONResponse({"body": (await request.body()).decode(), "path": request.url.path})


async def denied(websocket):
    await websocket.send_denial_response(PlainTextResponse("pay first", 402, headers={"x-price": "5"}))


def make_app():
    routes = [WebSocketRoute("/echo", Echo), WebSocketRoute("/denied", denied), Mount("/inner", routes=[Route("/page", Page)])]
    return Starlette(routes=routes, middleware=[Middleware(Counted)])
'''

LITESTAR = '''
from litestar import Litestar, WebSocket, get, websocket, websocket_listener


@websocket_listener("/listen")
async def listen(data: dict[str, int]) -> dict[str, int]:
    return {key: value + 1 for key, value in data.items()}


@websocket("/raw/{name:str}")
async def raw(socket: WebSocket, name: str) -> None:
    await socket.accept()
    await socket.send_text(f"{name} {await socket.receive_text()}")
    await socket.close(4001, "enough")


@get("/hello")
async def hello() -> dict[str, str]:
    return {"hello": "litestar"}


app = Litestar([listen, raw, hello])
'''

QUART = '''
from quart import Quart, abort, request, websocket

app = Quart(__name__)


@app.websocket("/ws/<name>")
async def ws(name):
    if name == "nobody":
        abort(403)
    while True:
        await websocket.send(f"{name}: {await websocket.receive()}")


@app.post("/add")
async def add():
    return {"sum": sum((await request.get_json())["numbers"])}
'''

CHANNELS = '''
import os

import django
from django.conf import settings

redis = os.environ.get("CHANNELS_REDIS")
layer = (
    {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [{"address": redis, "socket_timeout": 60}]}}
    if redis
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
)
settings.configure(
    SECRET_KEY="test", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, CHANNEL_LAYERS={"default": layer}, INSTALLED_APPS=["channels"],
    USE_TZ=True,
)
django.setup()

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer, WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.http import JsonResponse
from django.urls import path


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room"]
        if self.room == "closed":
            await self.close()
            return
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        await self.channel_layer.group_send(self.room, {"type": "chat.message", "text": content["text"]})

    async def chat_message(self, event):
        await self.send_json({"text": event["text"]})

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.room, self.channel_name)


class Upper(WebsocketConsumer):
    """Runs in a thread."""

    def receive(self, text_data=None, bytes_data=None):
        self.send(text_data=text_data.upper())


def view(request):
    return JsonResponse({"method": request.method, "path": request.path, "size": len(request.body)})


urlpatterns = [path("hello", view)]
application = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": URLRouter([path("chat/<str:room>", Chat.as_asgi()), path("upper", Upper.as_asgi())]),
    }
)
'''

SOCKETIO = '''
import socketio

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
app = socketio.ASGIApp(server)


@server.event
async def connect(sid, environ, auth):
    if auth and auth.get("token") == "bad":
        raise socketio.exceptions.ConnectionRefusedError("bad token")


@server.event
async def greet(sid, data):
    await server.emit("greeting", {"hello": data["name"], "blob": data["blob"]}, to=sid)
    return "done"
'''

SOCKETIO_CLIENT = """
const { io } = require("socket.io-client");
const url = process.argv[2];
const fail = (why) => { console.log("failed: " + why); process.exit(1); };
setTimeout(() => fail("it took too long"), 25000);
const transports = process.argv[3].split(",");
const socket = io(url, { transports, reconnection: false, auth: { token: process.argv[4] } });
socket.on("connect_error", (error) => fail(error.message));
socket.on("connect", () => {
    const engine = socket.io.engine;
    const ask = () => socket.emit("greet", { name: "ada", blob: Buffer.from([1, 2, 255]) }, (answer) => console.log("answered " + answer));
    const upgraded = () => { console.log("upgraded to " + engine.transport.name); ask(); };
    if (transports.length === 1) ask();
    else if (engine.transport.name === "websocket") upgraded();
    else engine.once("upgrade", upgraded);
});
socket.on("greeting", (data) => {
    console.log("greeting " + data.hello + " " + Buffer.from(data.blob).toString("hex"));
    setTimeout(() => { socket.disconnect(); process.exit(0); }, 50);
});
"""

PROJECTS = {"fastapi": FASTAPI, "starlette": STARLETTE, "litestar": LITESTAR, "quart": QUART, "channels": CHANNELS, "socketio": SOCKETIO}
"""By name; each is the module NAME_project."""
