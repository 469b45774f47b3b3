"""A coroutine function, a class and a plain function as apps. `twistd -n wsdaemon -c examples/python.ini` serves them."""

from __future__ import annotations

import sqlite3
import threading

from wsdaemon import BlockingConnection, Connection, CoroutineConnection, Handshake


async def chat(connection: CoroutineConnection) -> None:
    """Pass each message on to all clients of this mount."""
    name = connection.params["name"]
    async for message in connection:
        connection.broadcast(f"{name}: {message!s}", where=connection.handshake.mount)


class Counter:
    """Counts the messages of all clients together."""

    def __init__(self) -> None:
        self.count = 0

    def open(self, connection: Connection, handshake: Handshake) -> CounterSession:
        return CounterSession(self, connection)


class CounterSession:
    """One client."""

    def __init__(self, counter: Counter, connection: Connection) -> None:
        self.counter = counter
        self.connection = connection

    def received(self, message: str | bytes) -> None:
        self.counter.count += 1
        self.connection.send_json({"count": self.counter.count})

    def closed(self, code: int, reason: str) -> None:
        """Nothing is left to do."""


database = sqlite3.connect(":memory:", check_same_thread=False)
database.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
one_at_a_time = threading.Lock()


def notes(connection: BlockingConnection) -> None:
    """Keep each message in a database, whose driver blocks, and tell all clients of this mount."""
    for message in connection:
        with one_at_a_time:
            number = database.execute("INSERT INTO notes (text) VALUES (?)", (str(message),)).lastrowid
        connection.broadcast(f"note {number}: {message!s}", where=connection.handshake.mount)
