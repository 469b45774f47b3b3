"""The queue of messages that wait, and its bounds."""

from __future__ import annotations

import threading

import pytest

from wsdaemon.client.backlog import Backlog, closed_error
from wsdaemon.client.errors import ClientClosed, QueueFull


def all_of(backlog: Backlog) -> list[bytes]:
    taken = []
    while (message := backlog.take()) is not None:
        taken.append(message[0])
    return taken


def test_messages_keep_their_order() -> None:
    backlog = Backlog("refuse", 10, 1000)
    for number in range(3):
        assert backlog.put(b"%d" % number, True)
    assert len(backlog) == 3
    assert all_of(backlog) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(("most", "most_bytes"), [(3, 1000), (100, 30)])
def test_refuse_raises_when_it_is_full(most: int, most_bytes: int) -> None:
    backlog = Backlog("refuse", most, most_bytes)
    for _ in range(3):
        backlog.put(b"x" * 10, True)
    with pytest.raises(QueueFull, match="3 messages with 30 bytes"):
        backlog.put(b"x", True)
    backlog.take()
    assert backlog.put(b"y", True)


@pytest.mark.parametrize(("most", "most_bytes"), [(3, 1000), (100, 30)])
def test_drop_oldest_drops_as_many_as_needed(most: int, most_bytes: int) -> None:
    backlog = Backlog("drop_oldest", most, most_bytes)
    for number in range(10):
        backlog.put(b"%010d" % number, True)
    assert backlog.dropped == 7
    assert [int(each) for each in all_of(backlog)] == [7, 8, 9]


def test_a_message_that_is_larger_than_the_queue_is_taken_when_it_is_alone() -> None:
    backlog = Backlog("drop_oldest", 10, 5)
    backlog.put(b"abc", True)
    backlog.put(b"0123456789", False)
    assert backlog.take() == (b"0123456789", False)
    assert backlog.dropped == 1


def test_wait_says_so_and_a_thread_waits() -> None:
    backlog = Backlog("wait", 1, 100)
    assert backlog.put(b"a", True)
    assert not backlog.put(b"b", True)
    thread = threading.Thread(target=backlog.put_and_wait, args=(b"b", True))
    thread.start()
    assert backlog.take() == (b"a", True)
    thread.join(30)
    assert not thread.is_alive()
    assert backlog.take() == (b"b", True)


def test_a_thread_waits_no_longer_than_it_says() -> None:
    backlog = Backlog("wait", 1, 100)
    backlog.put(b"a", True)
    with pytest.raises(QueueFull, match="no room"):
        backlog.put_and_wait(b"b", True, timeout=0.001)


def test_close_wakes_threads_that_wait() -> None:
    backlog, errors = Backlog("wait", 1, 100), []
    backlog.put(b"a", True)

    def work() -> None:
        try:
            backlog.put_and_wait(b"b", True)
        except ClientClosed as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert backlog.close(closed_error) == 1
    thread.join(30)
    assert len(errors) == 1
    with pytest.raises(ClientClosed):
        backlog.put(b"c", True)
    backlog.open()
    assert backlog.put(b"d", True)
