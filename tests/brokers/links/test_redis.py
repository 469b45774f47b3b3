"""Links on a real Redis: what they report when it goes, comes back, or comes back without its data."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.lines import Lines
from tests.support.redis_links import SECONDS, Node, Recorder, make_settings, nodes, run
from tests.support.redis_servers import EVERYSEC, SPEED, Server, free_port, running, wait_until
from wsdaemon.brokers import Limits
from wsdaemon.brokers.contract import Position, Presence
from wsdaemon.brokers.errors import BadRoom, BrokerUnavailable, MemoryFull, RoomFull
from wsdaemon.brokers.links import redis as redis_link
from wsdaemon.brokers.links.contract import Declared
from wsdaemon.brokers.links.redis import RedisLink
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_servers import Unfit
from wsdaemon.brokers.links.redis_session import RedisSession
from wsdaemon.brokers.links.redis_tickets import RedisTickets
from wsdaemon.settings.values import Secret

live = pytest.mark.live
NAMES = Names("wsdaemon", "/rooms")


@pytest.fixture
def own(tmp_path: Path) -> Server:
    """A server that the test may kill."""
    return Server(tmp_path / "own", EVERYSEC)


@asynccontextmanager
async def down(node: Node, server: Server) -> AsyncIterator[None]:
    """While the server is killed; afterwards it runs and the node is back."""
    await asyncio.to_thread(server.kill)
    await asyncio.wait_for(node.receiver.down.wait(), SECONDS)
    yield
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(node.receiver.up.wait(), SECONDS)


@live
def test_a_member_reads_what_it_missed_and_then_hears_what_comes(either: Server) -> None:
    async def test() -> None:
        async with nodes(either.url, 2) as [one, two]:
            first = await one.publish("lobby", "1", publisher="ada", content_type="text/x")
            await one.publish("lobby", "2")
            joined = await two.join("lobby", "bob", Position(first.epoch, 0))
            assert [message.payload for message in joined.messages] == [b"1", b"2"]
            assert (joined.messages[0].publisher, joined.messages[0].content_type) == ("ada", "text/x")
            assert joined.position == Position(first.epoch, 2)
            assert joined.roster is not None
            assert [each.id for each in joined.roster.members] == ["bob"]
            await one.publish("lobby", "3")
            await two.receiver.until(lambda: two.receiver.texts("lobby") == ["3"])
            assert (await two.join("lobby", "eve", Position("other", 1))).gap

    run(test())


@live
def test_the_link_follows_before_the_order_reads_the_answer(server: Server) -> None:
    """Each message is in the answer, or comes live, or both."""

    async def test() -> None:
        async with nodes(server.url, 2) as [one, two]:
            epoch = (await one.publish("lobby", "1")).epoch
            joining = asyncio.ensure_future(two.join("lobby", "bob", Position(epoch, 0)))
            number = 1
            while not joining.done():
                number += 1
                await one.publish("lobby", str(number))
            joined = await joining
            await one.publish("lobby", "last")
            await two.receiver.until(lambda: "last" in two.receiver.texts("lobby"))
            seen = {message.offset for message in (*joined.messages, *two.receiver.messages)}
            assert seen == set(range(1, number + 2))

    run(test())


@live
def test_changes_of_presence_reach_the_processes_that_watch(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, 2) as [one, two]:
            await one.join("lobby", "ada")
            await two.join("lobby", "bob")
            two.leave("lobby", "bob")
            changes = one.receiver.changes
            await one.receiver.until(lambda: [each.kind for _, _, some in changes for each in some] == ["joined", "joined", "left"])
            assert [position.offset for _, position, _ in changes] == [1, 2, 3]
            roster = await one.link.roster("lobby")
            assert roster is not None
            assert [each.id for each in roster.members] == ["ada"]

    run(test())


@live
def test_a_leave_overtakes_no_join(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [node]:
            joining = node.link.join("lobby", Presence("ada", {}), None, watch=True, owner="")
            node.link.leave("lobby", "ada")
            await joining
            await node.link.probe()
            page = await node.link.presence("lobby", None)
            assert page.count == 0

    run(test())


@live
def test_refusals(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, limits=Limits(max_members=1)) as [node]:
            with pytest.raises(BadRoom):
                await node.join("a*", "ada")
            await node.join("lobby", "ada")
            with pytest.raises(RoomFull):
                await node.join("lobby", "bob")
            with server.client() as client:
                client.config_set("maxmemory", 1)
                with pytest.raises(MemoryFull):
                    await node.publish("lobby", "x")
                client.config_set("maxmemory", 0)
            assert (await node.publish("lobby", "x")).offset == 1

    run(test())


@live
def test_members_of_a_process_that_dies_leave_after_their_expiry(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("redis", "redis_reading"):
        monkeypatch.setattr(f"wsdaemon.brokers.links.{module}.PRESENCE_SECONDS", 0.6)
    monkeypatch.setattr(redis_link, "HEARTBEAT_SECONDS", 0.2)

    async def test() -> None:
        async with nodes(server.url, 2) as [one, two]:
            await one.join("lobby", "ada")
            await two.join("lobby", "bob")
            runner = two.link._runner
            assert runner is not None
            two.receiver.declared = list  # type: ignore[method-assign]  # its heart stops
            changes = one.receiver.changes
            await one.receiver.until(lambda: any(each.kind == "left" for _, _, some in changes for each in some))
            assert [each.id for each in (await one.link.presence("lobby", None)).members] == ["ada"]

    run(test())


@live
def test_a_link_that_closes_takes_its_members_along(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [one]:
            async with nodes(server.url) as [two]:
                await one.join("lobby", "ada")
                await two.join("lobby", "bob")
                two.link.close()
                two.receiver.rooms.clear()  # as a broker does
            await one.receiver.until(lambda: one.receiver.changes[-1][2][0].kind == "left")

    run(test())


@live
def test_presence_that_redis_lost_is_declared_again(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "HEARTBEAT_SECONDS", 0.05)

    async def test() -> None:
        async with nodes(server.url, 2) as [one, two]:
            await one.join("lobby", "ada")
            with server.client() as client:
                client.flushall()
            async with asyncio.timeout(SECONDS):
                while [each.id for each in (await two.link.presence("lobby", None)).members] != ["ada"]:
                    continue
                while [each.room for each in (await two.link.rooms("", 10, None)).rooms] != ["lobby"]:
                    continue

    run(test())


@live
def test_killed_and_restarted(own: Server) -> None:
    """The rooms that Redis still has begin a new epoch, and members are declared before the link is back."""

    async def test() -> None:
        async with nodes(own.url) as [node]:
            before = await node.publish("lobby", "1")
            await node.join("lobby", "ada")
            await node.link.follow_pattern("a.*")
            node.receiver.following.add("a.*")
            async with down(node, own):
                for question in (node.publish("lobby", "2"), node.link.history("lobby", None, 1, False)):
                    with pytest.raises(BrokerUnavailable):
                        await question
            standing = (await node.link.standings(["lobby"]))["lobby"]
            assert standing.position.epoch != before.epoch
            assert [each.id for each in (await node.link.presence("lobby", None)).members] == ["ada"]
            after = await node.publish("lobby", "3")
            assert after.epoch == standing.position.epoch
            await node.publish("a.b", "4")
            await node.receiver.until(lambda: node.receiver.texts("lobby")[-1:] == ["3"] and node.receiver.texts("a.b") == ["4"])

    own.start()
    try:
        run(test())
    finally:
        own.kill()


@live
def test_trust_keeps_the_epoch(own: Server) -> None:
    async def test() -> None:
        async with nodes(own.url, on_failover="trust") as [node]:
            before = await node.publish("lobby", "1")
            with own.client() as client:
                await asyncio.to_thread(wait_until, lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, "it is on the disk")
            async with down(node, own):
                pass
            after = await node.publish("lobby", "2")
            assert after.epoch == before.epoch

    own.start()
    try:
        run(test())
    finally:
        own.kill()


@live
def test_a_cut_connection_changes_no_epoch(server: Server) -> None:
    """Nothing is lost, so no gap may be told: the run_id is the same."""

    async def test() -> None:
        async with nodes(server.url) as [node]:
            before = await node.publish("lobby", "1")
            await node.join("lobby", "ada")
            with server.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
                client.client_kill_filter(_type="pubsub")
            await asyncio.wait_for(node.receiver.down.wait(), SECONDS)
            await asyncio.wait_for(node.receiver.up.wait(), SECONDS)
            assert (await node.publish("lobby", "2"))[:2] == (before.epoch, 2)
            assert [each.id for each in (await node.link.presence("lobby", None)).members] == ["ada"]

    run(test())


@live
def test_a_publication_that_is_asked_again_after_a_cut_is_not_doubled(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [node]:
            await node.publish("lobby", "0")
            publication = node.publication("lobby", "1")
            asked = node.link.publish(publication)
            await asyncio.sleep(0)
            node.link.cut("the test cuts it")
            with pytest.raises(BrokerUnavailable):
                await asked
            await asyncio.wait_for(node.receiver.down.wait(), SECONDS)
            await asyncio.wait_for(node.receiver.up.wait(), SECONDS)
            answer = await node.link.publish(publication)
            assert not answer.duplicate
            assert answer.offset == (await node.link.standings(["lobby"]))["lobby"].position.offset == 2

    run(test())


@live
def test_a_server_that_is_stopped_is_noticed_by_the_probe(own: Server) -> None:
    """SIGSTOP: the sockets stay, and nothing answers. PING on a subscriber would not tell; the probe goes through the path of writes."""

    async def test() -> None:
        async with nodes(own.url, timeout=0.3) as [node]:
            before = await node.publish("lobby", "1")
            await node.link.probe()
            own.pause()
            probe = node.link.probe()
            done, _ = await asyncio.wait([probe], timeout=0.3)
            assert not done
            node.link.cut("no answer to the probe")
            with pytest.raises(BrokerUnavailable):
                await probe
            await asyncio.wait_for(node.receiver.down.wait(), SECONDS)
            own.go_on()
            await asyncio.wait_for(node.receiver.up.wait(), SECONDS)
            assert (await node.publish("lobby", "2"))[:2] == (before.epoch, 2)

    own.start()
    try:
        run(test())
    finally:
        own.kill()


@live
def test_a_probe_needs_the_subscription_too(server: Server) -> None:
    """The path of writes works and the subscriber is dead: the probe must not end."""

    async def test() -> None:
        async with nodes(server.url) as [node]:
            await node.link.probe()
            with server.client() as client:
                client.execute_command("CLIENT", "PAUSE", 0)
            session = node.link._session
            assert session is not None
            [subscriptions] = session._subscriptions.values()
            subscriptions._message = lambda channel, data: None  # nothing comes through any more
            done, _ = await asyncio.wait([node.link.probe()], timeout=0.2)
            assert not done

    run(test())


@live
def test_redis_absent_at_the_start() -> None:
    """Nothing raises, each line of the log comes once a minute, and the link is there when Redis is."""
    port = free_port()

    async def test(folder: Path) -> None:
        lines, receiver = Lines(), Recorder()
        link = RedisLink(make_settings(f"redis://127.0.0.1:{port}"), "/rooms", Limits(), lines)
        reason = await link.try_out()
        assert reason is not None
        assert str(port) in reason
        link.open(receiver)
        with pytest.raises(BrokerUnavailable):
            await link.join("lobby", Presence("ada", {}), None, watch=False, owner="")
        await asyncio.to_thread(wait_until, lambda: lines.lines, "the log says that Redis is away")
        server = Server(folder, SPEED, port=port)
        await asyncio.to_thread(server.start)
        try:
            await asyncio.wait_for(receiver.up.wait(), SECONDS)
            assert link.connected
            assert len([line for line in lines.lines if "away" in line]) == 1
            assert receiver.reasons == []
        finally:
            link.close()
            await link.closed()
            server.kill()

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run(test(Path(folder)))


@live
def test_pauses_between_attempts_stay_short(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds:
            pauses.append(seconds)
        await sleep(0)

    async def test() -> None:
        monkeypatch.setattr(asyncio, "sleep", noted)
        link = RedisLink(make_settings(f"redis://127.0.0.1:{free_port()}"), "/rooms", Limits(), Lines())
        link.open(Recorder())
        while len(pauses) < 20:
            await sleep(0.001)
        link.close()
        await link.closed()
        assert max(pauses) <= redis_link.LONGEST_PAUSE_SECONDS
        assert min(pauses[10:]) >= redis_link.LONGEST_PAUSE_SECONDS / 2

    run(test())


@live
def test_a_redis_that_cannot_be_used_is_found_at_the_start(tmp_path: Path) -> None:
    with running(tmp_path, (*SPEED, "--requirepass", "right")) as server:

        async def test() -> None:

            async def tried(secret: str, user: str = "") -> str | None:
                url = f"redis://{user}127.0.0.1:{server.port}"
                settings = make_settings(url, password_file=Secret(Path("f"), secret))
                return await RedisLink(settings, "/rooms", Limits(), Lines()).try_out()

            assert await tried("right") is None
            with pytest.raises(Unfit, match="password"):
                await tried("wrong")
            server.password = "right"
            with server.client() as client:
                client.execute_command("ACL", "SETUSER", "ws", "on", ">pw", "~wsdaemon*", "+@all", "-publish", "&wsdaemon*")
            with pytest.raises(Unfit, match="command"):
                await tried("pw", "ws@")
            with server.client() as client:
                client.execute_command("ACL", "SETUSER", "ws", "reset", "on", ">pw", "~wsdaemon*", "+@all", "&wsdaemon*")
            with pytest.raises(Unfit, match="channels"):  # no PSUBSCRIBE
                await tried("pw", "ws@")

        run(test())


@live
def test_the_rights_that_the_documentation_names_are_enough(server: Server) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "scaling.md").read_text()
    [line] = [line for line in page.splitlines() if line.startswith("A user of an ACL needs")]
    rights = [part.replace("PREFIX", "wsdaemon") for quoted in line.split("`")[1:6:2] for part in quoted.split()]
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "documented", "reset", "on", ">pw", *rights)
    url, secret = f"redis://documented@127.0.0.1:{server.port}", Secret(Path("f"), "pw")

    async def test() -> None:
        async with nodes(url, password_file=secret, limits=Limits(history=5, latest=True)) as [node]:
            assert await RedisLink(node.link._settings, "/rooms", Limits(), Lines()).try_out() is None
            await node.join("lobby", "ada")
            await node.publish("lobby", "x", key="k")
            await node.link.follow_pattern("a.*")
            await node.link.history("lobby", None, 5, False)
            await node.link.rooms("", 5, None)
            await node.link.probe()
            session = node.link._session
            assert session is not None
            await node.link._index.touch(session, ["lobby"])
            await node.link._index.sweep(session)
            tickets = RedisTickets(node.link._settings, Lines())
            assert await tickets.put("pages", "a", b"1", 5.0, 5)
            assert await tickets.take("pages", "a") == b"1"
            await tickets.close()

    run(test())


@live
def test_with_acknowledge_replica_a_publication_waits_for_one(tmp_path: Path) -> None:
    with running(tmp_path / "one") as primary, running(tmp_path / "two") as replica:

        async def test() -> None:
            with primary.client() as client, replica.client() as other:
                async with nodes(primary.url, acknowledge="replica", timeout=0.2) as [node]:
                    with pytest.raises(BrokerUnavailable, match="replica"):
                        await node.publish("lobby", "1", key="k")
                    other.execute_command("REPLICAOF", "127.0.0.1", primary.port)
                    await asyncio.to_thread(wait_until, lambda: client.info("replication")["connected_slaves"] == 1, "the replica follows")
                    async with asyncio.timeout(SECONDS):
                        while True:
                            try:
                                answer = await node.publish("lobby", "1", key="k")
                                break
                            except BrokerUnavailable:
                                continue
                    assert answer.duplicate
                    assert answer.offset == 1
                    assert other.xlen(NAMES.room("lobby")[1]) == 1

        run(test())


@live
def test_many_patterns_are_one_subscription(server: Server) -> None:
    """Redis compares each publication with every pattern of channels, so a client must not be able to make many."""

    async def test() -> None:
        async with nodes(server.url) as [node]:
            for number in range(100):
                await node.link.follow_pattern(f"p{number}.*")
            with server.client() as client:
                assert client.pubsub_numpat() <= redis_link.WIDE_PATTERNS + 1
            await node.publish("p99.x", "a")
            await node.receiver.until(lambda: node.receiver.texts("p99.x")[:1] == ["a"])
            for number in range(100):
                node.link.unfollow_pattern(f"p{number}.*")
            await node.link.probe()
            with server.client() as client:
                assert client.pubsub_numpat() == 0

    run(test())


@live
def test_strange_messages_are_left_out(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [node]:
            await node.join("lobby", "ada")
            with server.client() as client:
                for data in (b"", b"m", b"mx y z", b"me 1 1 ", b"r", b"re 1 {", b"\xff"):
                    client.publish(NAMES.channel("lobby"), data)
            await node.publish("lobby", "good")
            await node.receiver.until(lambda: node.receiver.texts("lobby") == ["good"])
            assert node.lines.lines[-1].startswith("Redis sent a message that is none of ours")

    run(test())


@live
def test_mounts_and_prefixes_keep_apart(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [one], nodes(server.url, path="/other") as [two], nodes(server.url, prefix="other") as [three]:
            for node in (one, two, three):
                await node.join("lobby", "ada")
            await one.publish("lobby", "1")
            await one.receiver.until(lambda: one.receiver.texts("lobby") == ["1"])
            for node in (two, three):
                await node.link.probe()
                assert node.receiver.messages == []
                assert (await node.link.presence("lobby", None)).count == 1

    run(test())


@live
def test_a_question_that_is_cancelled_harms_no_other(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url) as [node]:
            asked = [node.link.history("lobby", None, 1, False) for _ in range(3)]
            await asyncio.sleep(0)
            asked[0].cancel()
            await asyncio.gather(*asked[1:])
            await node.link.probe()
            assert node.receiver.reasons == []

    run(test())


@live
def test_a_link_closes_while_redis_is_stopped(own: Server) -> None:
    """A daemon must be able to stop then, and leaves no connection open."""

    async def test() -> None:
        async with asyncio.timeout(SECONDS):
            async with nodes(own.url) as [node]:
                await node.join("lobby", "ada")
                own.pause()
                asked = node.publish("lobby", "x")
                session = node.link._session
                assert session is not None
                node.link.close()
                await node.link.closed()
                with pytest.raises(BrokerUnavailable):
                    await asked
                assert not any(pipe._connection.is_connected for pipe in session._pipes())

    own.start()
    try:
        run(test())
    finally:
        own.kill()


@live
def test_a_server_that_hangs_while_rooms_are_declared_is_given_up(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network may be cut at any moment, and then nothing answers and nothing fails."""
    opened = RedisSession.open

    async def then_pause(session: RedisSession, *arguments: Any) -> None:
        await opened(session, *arguments)
        own.pause()

    async def test() -> None:
        async with nodes(own.url, timeout=0.3) as [node]:
            await node.join("lobby", "ada")
            with monkeypatch.context() as patch:
                patch.setattr(RedisSession, "open", then_pause)
                node.link.cut("the test cuts it")
                await asyncio.wait_for(node.receiver.down.wait(), SECONDS)
                await asyncio.to_thread(wait_until, lambda: any("away: no answer" in line for line in node.lines.lines), "it gives up")
            own.go_on()
            await asyncio.wait_for(node.receiver.up.wait(), SECONDS)
            assert (await node.link.presence("lobby", None)).count == 1

    own.start()
    try:
        run(test())
    finally:
        own.kill()


@live
def test_a_probe_does_not_wait_for_a_replica(server: Server) -> None:
    """Otherwise the link would be cut for as long as the replica is away."""

    async def test() -> None:
        async with nodes(server.url, acknowledge="replica", timeout=30.0) as [node]:
            await node.link.probe()
            stands = node.publish("lobby", "1")
            session = node.link._session
            assert session is not None
            with server.client() as client:
                await asyncio.to_thread(wait_until, lambda: client.info("clients")["blocked_clients"] == 1, "WAIT waits")
            await asyncio.wait_for(node.link.probe(), 10)
            assert not stands.done()
            node.link.cut("the test ends")
            with pytest.raises(BrokerUnavailable):
                await stands

    run(test())


@live
def test_members_of_a_big_room_that_left_while_redis_was_away(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last command of a declaration names all, so that those who are not named go, however many there are."""
    monkeypatch.setattr(redis_link, "MEMBERS_PER_COMMAND", 2)

    async def test() -> None:
        async with nodes(own.url, 2) as [node, other]:
            for who in ("ada", "bob", "cem", "dan", "eve"):
                await node.join("lobby", who)
            await other.join("lobby", "far")
            with own.client() as client:
                await asyncio.to_thread(wait_until, lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, "it is on the disk")
            async with down(node, own):
                del node.receiver.rooms["lobby"][1]
            await asyncio.wait_for(other.receiver.up.wait(), SECONDS)
            page = await node.link.presence("lobby", None)
            assert sorted(each.id for each in page.members) == ["ada", "cem", "dan", "eve", "far"]

    own.start()
    try:
        run(test())
    finally:
        own.kill()


@live
def test_members_that_leave_while_they_are_declared(server: Server) -> None:
    async def test() -> None:
        async with nodes(server.url, 2) as [node, other]:
            await node.join("lobby", "ada")
            declared = node.receiver.declared
            calls = 0

            def then_leave() -> list[Declared]:
                nonlocal calls
                calls += 1
                found = list(declared())
                node.receiver.rooms.clear()
                return found

            node.receiver.declared = then_leave  # type: ignore[method-assign]
            node.link.cut("the test cuts it")
            await asyncio.wait_for(node.receiver.down.wait(), SECONDS)
            await asyncio.wait_for(node.receiver.up.wait(), SECONDS)
            assert calls >= 2
            assert (await other.link.presence("lobby", None)).count == 0

    run(test())
