"""A client as a Twisted service, on both kinds of reactor."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.fake_loop import Loop
from tests.support.fake_server import Story
from wsdaemon.client.service import WebSocketClientService, _called_in_reactor


class AsyncioReactor:
    """As much of Twisted's asyncio reactor as the service looks at."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncioEventloop = loop


def test_on_the_asyncio_reactor_the_client_runs_on_its_loop() -> None:
    with Loop() as loop:
        story = Story(loop)
        service = WebSocketClientService(story.client, AsyncioReactor(loop))
        service.startService()
        loop.settle()
        end = story.end
        end.accept()
        end.send("hello")
        assert story.heard.messages == ["hello"]
        stopped: list[Any] = []
        service.stopService().addCallback(stopped.append)
        loop.settle()
        assert stopped == []
        end.close()
        loop.settle()
        assert stopped == [None]


def test_a_service_that_stops_before_the_loop_runs_never_connects() -> None:
    with Loop() as loop:
        story = Story(loop)
        service = WebSocketClientService(story.client, AsyncioReactor(loop))
        service.startService()
        assert service.stopService().called
        loop.settle()
        assert story.network.attempts == []


class ThreadedReactor:
    """A reactor that calls what threads ask for at once."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)


def test_with_another_reactor_a_callback_is_called_there_and_its_result_comes_back() -> None:
    assert _called_in_reactor(ThreadedReactor(), lambda *arguments: arguments, 1, 2) == (1, 2)
