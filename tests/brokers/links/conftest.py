"""One Redis, and one Valkey, for all tests of this folder; each test finds them empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import Server, running, valkey


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("valkey"), program=valkey()) as server:
        yield server


@pytest.fixture
def server(redis_server: Server) -> Server:
    with redis_server.client() as client:
        client.flushall()
    return redis_server


@pytest.fixture(params=["redis", "valkey"])
def either(request: pytest.FixtureRequest) -> Server:
    """The test runs with Redis 7.0 and with Valkey 9."""
    found: Server = request.getfixturevalue(f"{request.param}_server")
    with found.client() as client:
        client.flushall()
    return found
