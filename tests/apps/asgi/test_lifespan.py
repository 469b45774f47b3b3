"""apps/asgi/lifespan.py: startup before the first client, shutdown after the last, and what happens if they fail."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.support.asgi import Event
from tests.support.fakes import Loop
from wsdaemon.apps.asgi.lifespan import OFF, Lifespan, LifespanFailed
from wsdaemon.core.contract import StartFailed

Receive = Callable[[], Any]
Send = Callable[[Event], Any]


class Boom(Exception):
    """An application's own."""


class Story:
    """An application with a lifespan, that writes down what it is told and answers as the test says."""

    def __init__(self, **answers: Any) -> None:
        self.events: list[str] = []
        self.scope: Event = {}
        self._answers = answers

    async def __call__(self, scope: Event, receive: Receive, send: Send) -> None:
        self.scope = scope
        for name in ("startup", "shutdown"):
            event = await receive()
            self.events.append(event["type"])
            answer = self._answers.get(name, "complete")
            if isinstance(answer, Exception):
                raise answer
            if name == "startup":
                scope["state"]["pool"] = "open"
            await send({"type": f"lifespan.{name}.{answer}", "message": self._answers.get("message", "")})
        self.events.append("returned")


def run(loop: Loop, work: Coroutine[Any, Any, None]) -> None:
    task = loop.create_task(work)
    loop.advance(10)
    task.result()


def test_startup_and_shutdown() -> None:
    with Loop() as loop:
        story = Story()
        lifespan = Lifespan(story)
        run(loop, lifespan.start())
        assert story.events == ["lifespan.startup"]
        assert {key: value for key, value in story.scope.items() if key != "state"} == {
            "type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"},
        }  # fmt: skip
        assert lifespan.state == {"pool": "open"}
        run(loop, lifespan.stop())
        assert story.events == ["lifespan.startup", "lifespan.shutdown", "returned"]


def test_mounts_of_one_application_share_it() -> None:
    with Loop() as loop:
        story = Story()
        lifespan = Lifespan(story)
        run(loop, lifespan.start())
        run(loop, lifespan.start())
        assert story.events == ["lifespan.startup"]
        run(loop, lifespan.stop())
        assert story.events == ["lifespan.startup"]
        run(loop, lifespan.stop())
        assert story.events == ["lifespan.startup", "lifespan.shutdown", "returned"]


def test_a_startup_that_fails_in_the_applications_words() -> None:
    with Loop() as loop:
        lifespan = Lifespan(Story(startup="failed", message="Traceback...\nBoom: no database"))
        with pytest.raises(StartFailed, match=r"(?s)^Traceback\.\.\.\nBoom: no database$"):
            run(loop, lifespan.start())
        with pytest.raises(StartFailed, match="without a message"):
            run(loop, Lifespan(Story(startup="failed")).start())


def test_a_startup_that_raises_shows_the_frames_of_the_application_alone() -> None:
    with Loop() as loop:
        with pytest.raises(StartFailed) as raised:
            run(loop, Lifespan(Story(startup=Boom("mine"))).start())
        first, *frames, last = str(raised.value).splitlines()
        assert first == "Traceback (most recent call last):"
        assert last.endswith("Boom: mine")
        assert "test_lifespan.py" in frames[0] and "apps/asgi/lifespan.py" not in "".join(frames).replace("tests/apps", "")


async def no_lifespan(scope: Event, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"


async def no_idea(scope: Event, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def returns(scope: Event, receive: Receive, send: Send) -> None: ...


@pytest.mark.parametrize("application", [no_lifespan, no_idea, returns])
def test_an_application_that_does_not_know_it_goes_without(application: Any) -> None:
    with Loop() as loop:
        lifespan = Lifespan(application)
        run(loop, lifespan.start())
        run(loop, lifespan.stop())
        assert lifespan.state == {}


@pytest.mark.parametrize(
    ("application", "text"),
    [(no_lifespan, "AssertionError"), (no_idea, f"(?s)'websocket.accept'.*{OFF}"), (returns, OFF)],
)
def test_unless_it_is_required(application: Any, text: str) -> None:
    with Loop() as loop, pytest.raises(StartFailed, match=text):
        run(loop, Lifespan(application, required=True).start())


async def forgets(scope: Event, receive: Receive, send: Send) -> None:
    await receive()


def test_an_application_that_says_nothing_about_its_startup() -> None:
    with Loop() as loop, pytest.raises(StartFailed, match="the application ended in its lifespan"):
        run(loop, Lifespan(forgets).start())


def test_a_start_that_takes_too_long_cancels_the_application() -> None:
    with Loop() as loop:
        story: list[str] = []

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            try:
                await loop.create_future()
            finally:
                story.append("cancelled")

        task = loop.create_task(Lifespan(app).start())
        loop.settle()
        task.cancel()
        loop.settle()
        assert story == ["cancelled"]


@pytest.mark.parametrize(
    ("answers", "error"),
    [({"shutdown": "failed", "message": "stuck"}, LifespanFailed), ({"shutdown": Boom("mine")}, Boom)],
)
def test_a_shutdown_that_fails(answers: Event, error: type[Exception]) -> None:
    with Loop() as loop:
        lifespan = Lifespan(Story(**answers))
        run(loop, lifespan.start())
        with pytest.raises(error, match=r"stuck|mine"):
            run(loop, lifespan.stop())


def test_an_application_that_does_not_return_after_its_shutdown_is_cancelled() -> None:
    with Loop() as loop:
        story: list[str] = []

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            try:
                while True:
                    event = await receive()
                    story.append(event["type"])
                    await send({"type": f"{event['type']}.complete"})
            finally:
                story.append("cancelled")

        lifespan = Lifespan(app)
        run(loop, lifespan.start())
        run(loop, lifespan.stop())
        loop.settle()
        assert story == ["lifespan.startup", "lifespan.shutdown", "cancelled"]


def test_a_strange_event_after_the_startup_is_the_applications_fault() -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.startup.complete"})

    with Loop() as loop:
        lifespan = Lifespan(app)
        run(loop, lifespan.start())
        with pytest.raises(RuntimeError, match=r"expected lifespan\.shutdown"):
            run(loop, lifespan.stop())
