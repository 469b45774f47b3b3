"""apps/proxy/balancer.py: the order in which targets are asked."""

from __future__ import annotations

from wsdaemon.apps.proxy.balancer import Balancer
from wsdaemon.settings.proxy import ProxyTarget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def balancer(count: int = 3, max_failures: int = 2) -> tuple[Balancer, Clock]:
    clock = Clock()
    return Balancer([ProxyTarget(False, f"h{number}", 80) for number in range(count)], max_failures, 10.0, clock), clock


def test_the_fewest_connections_and_in_turn_among_equals() -> None:
    made, _ = balancer()
    firsts = [made.order()[0].order for _ in range(6)]
    assert sorted(firsts) == [0, 0, 1, 1, 2, 2]
    a, b, c = made.backends
    a.connections, b.connections, c.connections = 2, 0, 1
    for _ in range(3):
        assert made.order() == [b, c, a]


def test_a_target_that_fails_comes_last_for_a_while() -> None:
    made, clock = balancer()
    a = made.backends[0]
    assert not made.failed(a)
    assert a in [made.order()[0] for _ in range(3)]
    assert made.failed(a)
    assert not made.failed(a)
    for _ in range(5):
        assert made.order()[-1] is a
    clock.now += 11.0
    assert a in [made.order()[0] for _ in range(3)]
    assert made.failed(a), "the first client after the pause finds it still down"
    made.succeeded(a)
    assert (a.failures, a.down_until) == (0, 0.0)


def test_all_are_down() -> None:
    made, _ = balancer(2, 1)
    for each in made.backends:
        assert made.failed(each)
    assert len(made.order()) == 2
