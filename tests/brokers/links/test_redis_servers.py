from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from tests.support.redis_links import make_settings, nodes, run
from tests.support.redis_servers import SPEED, Cluster, Server, free_port, running
from wsdaemon.brokers.links.redis_servers import Away, RedisPlace, Servers, Unfit
from wsdaemon.settings.values import Secret

live = pytest.mark.live


def servers(url: str, **values: Any) -> Servers:
    return Servers(make_settings(url, **values))


async def fence_of(url: str, place: RedisPlace, **values: Any) -> str:
    pipe = await servers(url, **values).questions(place)
    await pipe.close()
    return pipe.fence


async def serve_lines(answers: dict[bytes, bytes]) -> tuple[asyncio.Server, int]:
    """A server that answers commands by what they hold."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.read(65536):
            for _ in range(line.count(b"*")):
                writer.write(next((answer for word, answer in answers.items() if word in line), b"+OK\r\n"))
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


@live
def test_each_fence_is_that_of_one_run_of_a_server(server: Server) -> None:
    place = RedisPlace("127.0.0.1", server.port)

    async def test() -> None:
        first = await fence_of(server.url, place)
        assert first == await fence_of(server.url, place)
        assert first.endswith(str(server.client().info("server")["run_id"]))
        assert await fence_of(server.url, place, on_failover="trust") == ""

    run(test())


@live
def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with running(tmp_path / "data", (*SPEED, "--unixsocket", str(path))):

        async def test() -> None:
            found = servers(f"unix://{path}?db=2")
            [place] = (await found.find()).primaries
            pipe = await found.questions(place)
            assert await pipe.ask("SET", "a", 1) == b"OK"
            await pipe.close()

        run(test())


@live
def test_a_wrong_password_is_no_reason_to_wait(tmp_path: Path) -> None:
    with running(tmp_path, (*SPEED, "--requirepass", "right")) as server:
        place = RedisPlace("127.0.0.1", server.port)

        async def test() -> None:
            for secret in (None, Secret(Path("f"), "wrong")):
                with pytest.raises(Unfit, match="user or the password") as caught:
                    await servers(server.url, password_file=secret).questions(place)
                assert "wrong" not in str(caught.value)
            assert await fence_of(server.url, place, password_file=Secret(Path("f"), "right"))

        run(test())


@live
def test_a_user_of_an_acl_and_missing_rights(server: Server) -> None:
    place = RedisPlace("127.0.0.1", server.port)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "ws", "on", ">pw", "~wsdaemon*", "&wsdaemon*", "+@all")
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~other*", "+info")
    secret = Secret(Path("f"), "pw")

    async def test() -> None:
        assert await fence_of(f"redis://ws@127.0.0.1:{server.port}", place, password_file=secret)
        with pytest.raises(Unfit, match="rights"):
            await fence_of(f"redis://poor@127.0.0.1:{server.port}", place, password_file=secret)

    run(test())


def test_a_version_that_is_too_old_is_no_reason_to_wait() -> None:
    async def test() -> None:
        server, port = await serve_lines({b"INFO": bulk("redis_version:6.2.14\r\nrun_id:a\r\n")})
        with pytest.raises(Unfit, match=r"Redis 6\.2\.14; expected 7\.0"):
            await servers("redis://127.0.0.1").questions(RedisPlace("127.0.0.1", port))
        server.close()

    run(test())


def test_a_replica_is_not_used() -> None:
    async def test() -> None:
        server, port = await serve_lines({b"INFO": bulk("redis_version:7.0.0\r\nrun_id:a\r\nrole:slave\r\n")})
        with pytest.raises(Away, match="replica"):
            await servers("redis://127.0.0.1").questions(RedisPlace("127.0.0.1", port))
        server.close()

    run(test())


def test_no_server_and_one_that_does_not_answer() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def test() -> None:
        with pytest.raises(Away, match=r"127\.0\.0\.1"):
            await servers("redis://127.0.0.1").questions(RedisPlace("127.0.0.1", free_port()))
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        with pytest.raises(Away, match="does not answer"):
            await servers("redis://127.0.0.1", timeout=0.05).questions(RedisPlace("127.0.0.1", server.sockets[0].getsockname()[1]))
        server.close()

    run(test())


def named(port: int) -> bytes:
    """A Sentinel's answer."""
    return f"*2\r\n$9\r\n127.0.0.1\r\n${len(str(port))}\r\n{port}\r\n".encode()


def test_the_primary_is_the_one_that_most_sentinels_name() -> None:
    """One of them may be cut off from the others, together with the old primary."""

    async def test() -> None:
        watchers = [await serve_lines({b"SENTINEL": named(port)}) for port in (1, 2, 2)]
        hosts = ",".join([f"127.0.0.1:{port}" for _, port in watchers])
        assert (await servers(f"redis+sentinel://{hosts}/main").find()).primaries == (RedisPlace("127.0.0.1", 2),)
        watchers[1][0].close()
        watchers[2][0].close()
        assert (await servers(f"redis+sentinel://{hosts}/main").find()).primaries == (RedisPlace("127.0.0.1", 1),)
        watchers[0][0].close()
        with pytest.raises(Away, match="no Sentinel knows the primary main"):
            await servers(f"redis+sentinel://{hosts}/main").find()

    run(test())


def test_sentinels_that_know_no_such_primary() -> None:
    async def test() -> None:
        watcher, port = await serve_lines({b"SENTINEL": b"*-1\r\n"})
        with pytest.raises(Away, match="no Sentinel knows the primary main"):
            await servers(f"redis+sentinel://127.0.0.1:{port}/main").find()
        watcher.close()

    run(test())


@live
def test_the_slots_of_a_cluster(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()

        async def test() -> None:
            layout = await servers(cluster.url).find()
            assert {place.port for place in layout.primaries} == {each.port for each in cluster.servers}
            assert layout.place_of(0).port == cluster.servers[0].port
            assert layout.place_of(16383).port == cluster.servers[2].port

        run(test())
    finally:
        cluster.stop()


@live
def test_a_server_that_is_no_cluster(server: Server) -> None:
    async def test() -> None:
        with pytest.raises(Unfit, match="no cluster"):
            await servers(f"redis+cluster://127.0.0.1:{server.port}").find()

    run(test())


@live
def test_tls_with_a_certificate_on_both_sides(tmp_path: Path) -> None:
    authority, other = CA(), CA()
    make_files(tmp_path, authority)
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    port = free_port()
    options = [f"--tls-{key}" for key in ("port", "cert-file", "key-file", "ca-cert-file", "auth-clients")]
    values = [str(port), *[str(tmp_path / name) for name in ("cert.pem", "key.pem", "ca.pem")], "yes"]
    with running(tmp_path / "data", (*SPEED, *[word for pair in zip(options, values, strict=True) for word in pair])):
        place = RedisPlace("127.0.0.1", port)
        mine: dict[str, Any] = {"tls_certificate": tmp_path / "cert.pem", "tls_key": tmp_path / "key.pem"}

        async def test() -> None:
            url = f"rediss://127.0.0.1:{port}"
            assert await fence_of(url, place, tls_ca=tmp_path / "ca.pem", **mine)
            with pytest.raises(Away, match="certificate"):
                await fence_of(url, place, tls_ca=tmp_path / "other.pem", **mine)
            with pytest.raises(Away):
                await fence_of(url, place, tls_ca=tmp_path / "ca.pem")

        run(test())


def make_files(folder: Path, authority: CA) -> None:
    """A certificate for both sides, its key, and the authority's."""
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")


@live
def test_info_is_asked_once_for_each_connection(server: Server) -> None:
    """INFO takes longer than a publication."""

    async def test() -> None:
        async with nodes(server.url) as [node]:
            with server.client() as client:
                client.config_resetstat()
                for number in range(50):
                    await node.publish("lobby", str(number))
                assert "cmdstat_info" not in client.info("commandstats")

    run(test())
