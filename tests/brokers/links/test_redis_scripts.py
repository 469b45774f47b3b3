"""The scripts, on a real server."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.support.redis_servers import Server
from wsdaemon.brokers.links.redis_keys import Names
from wsdaemon.brokers.links.redis_scripts import ALL, DIGESTS, FORGET, GUARD, HISTORY, JOIN, PUBLISH, ROSTER, STAND

NAMES = Names("test", "/rooms")

pytestmark = pytest.mark.live


class Room:
    """A room as the scripts see it. `fence` and `kin` are those of the connection."""

    def __init__(self, client: Any, name: str = "lobby") -> None:
        self._client = client
        self.name = name
        self.keys = NAMES.room(name)
        self.fence, self.kin, self.ttl = "1:run", "", 60_000
        self.node = "node"
        self._fresh = 0
        self._number = 0

    def run(self, script: str, *arguments: Any, more: tuple[str, ...] = ()) -> list[Any]:
        self._fresh += 1
        keys = (*self.keys, *more)
        common = (self.fence, self.kin, f"epoch{self._fresh}", self.ttl, NAMES.channel(self.name), "PUBLISH")
        answer = self._client.eval(script, len(keys), *keys, *common, *arguments)
        return [part.decode() if isinstance(part, bytes) else part for part in answer]

    def publish(
        self,
        text: str = "x",
        *,
        number: int | None = None,
        lowest: int = 0,
        key: str = "",
        owner: str = "",
        count: int = 10,
        age: int = 0,
        most: int = 1000,
        latest: int = 0,
        rate: float = 0,
        burst: int = 1,
        keyage: int = 60_000,
        maxkeys: int = 8,
        create: int = 1,
    ) -> list[Any]:
        self._number += 1
        return self.run(
            PUBLISH,
            number or self._number,
            lowest,
            key,
            owner,
            text,
            len(text),
            count,
            age,
            most,
            latest,
            rate,
            burst,
            keyage,
            maxkeys,
            create,
            "",
            more=(NAMES.own(self.name, self.node),),
        )

    def log(self) -> list[str]:
        return [fields[b"m"].split(b" ", 1)[1].decode() for _, fields in self._client.xrange(self.keys[1])]

    def stand(self, count: int = 10, age: int = 0, most: int = 1000) -> list[Any]:
        return self.run(STAND, "", 30_000, count, age, most)

    def join(self, who: str, *, node: str = "node", expiry: int = 30_000, most_members: int = 10) -> list[Any]:
        return self.run(JOIN, node, who, f'["{who}",{{}}]', expiry, "", 0, 1, most_members, 10, 0, 1000, 0, 1)


@pytest.fixture
def client(either: Server) -> Any:
    return either.client()


@pytest.fixture
def room(client: Any) -> Any:
    with client:
        yield Room(client)


def test_digests_are_those_of_the_server(client: Any) -> None:
    with client:
        for script in ALL:
            assert client.script_load(script) == DIGESTS[script] == hashlib.sha1(script.encode()).hexdigest()


def test_a_room_that_does_not_exist_is_made_only_if_asked(room: Room) -> None:
    assert room.publish(create=0) == ["absent"]
    assert room.publish() == ["ok", "epoch2", "1", 0]
    assert room.publish() == ["ok", "epoch2", "2", 0]


def test_history_by_number(room: Room) -> None:
    for number in range(5):
        room.publish(str(number), count=3)
    assert room.log() == ["2", "3", "4"]


def test_history_by_bytes(room: Room) -> None:
    for text in ("a" * 400, "b" * 400, "c" * 300):
        room.publish(text)
    assert [text[0] for text in room.log()] == ["b", "c"]
    room.publish("d" * 2000)
    assert room.log() == []
    assert room.publish("e")[2] == "5"
    assert room.log() == ["e"]


def test_history_by_age(room: Room) -> None:
    for _ in range(150):
        room.publish(age=60_000, count=1000)
    assert room.stand(1000, 60_000)[7] == 150
    assert room.stand(1000, 0)[7] == 150
    with_age = room.run(HISTORY, 1000, 1, 1000, 0, "", 0, 10, 0) if room.stand(1000, 60_000)[7] else []
    assert with_age[:1] == ["ok"]
    # The clock of the server has moved on by a millisecond or more since, or a later look finds it so.
    for _ in range(1000):
        if room.stand(1000, 1)[7] == 0:
            break
    assert room.log() == []


def test_a_key_is_answered_with_its_first_answer(room: Room) -> None:
    first = room.publish(key="k")
    assert room.publish(key="k") == ["known", *first[1:3], 0]
    assert len(room.log()) == 1


def test_keys_are_bounded_and_a_publisher_with_its_share_replaces_its_own(room: Room) -> None:
    room.publish(key="other", owner="user bob")
    for number in range(20):
        room.publish(key=f"k{number}", owner="user ada", maxkeys=8)
    assert room.publish(key="other", owner="user bob")[0] == "known"
    assert room.publish(key="k0", owner="user ada")[0] == "ok"
    assert room._client.hlen(room.keys[4]) <= 8
    assert room._client.hlen(room.keys[4]) == room._client.zcard(room.keys[5])


def test_a_number_that_is_asked_again_is_not_published_again(room: Room) -> None:
    first = room.publish("a", number=7)
    room.publish("b", number=8)
    assert room.publish("a", number=7) == ["again", *first[1:3], 0]
    assert room.publish("c", number=9)[0] == "ok"
    assert room.log() == ["a", "b", "c"]


def test_commands_of_a_connection_that_was_cut_are_not_published_after_their_retries(room: Room) -> None:
    """The connection brings them late, with the same arguments; meanwhile the process may have settled them and gone on."""
    for number in (1, 2, 3):
        room.publish(str(number), number=number, lowest=1)
    assert room.publish("2", number=2, lowest=1)[0] == "again"
    for number in range(4, 100):
        room.publish("x", number=number, lowest=number)
    standing = room.stand()[2]
    assert room.publish("1", number=1, lowest=1) == ["settled"]
    room.publish("x", number=100, lowest=1)  # a late command lowers nothing
    assert room.publish("2", number=2, lowest=1) == ["settled"]
    assert room.stand()[2] == str(int(standing) + 1)


def test_numbers_that_are_answered_are_forgotten(room: Room) -> None:
    for number in range(1, 200):
        room.publish(number=number, lowest=max(1, number - 3))
    kept = room._client.get(NAMES.own("lobby", "node"))
    assert isinstance(kept, bytes)
    assert kept.count(b";") == 4
    assert 0 < room._client.pttl(NAMES.own("lobby", "node")) <= 120_000


def test_the_rate_of_a_room(room: Room) -> None:
    answers = [room.publish(rate=0.5, burst=3) for _ in range(5)]
    assert [answer[0] for answer in answers] == ["ok", "ok", "ok", "rate", "rate"]
    assert 0 < int(answers[3][1]) <= 2000
    assert room.stand()[2] == "3"


def test_every_key_of_a_room_has_an_expiry(room: Room) -> None:
    """A key without one would stay for ever once the room is unused."""
    for number in range(3):
        room.publish(latest=1, key=f"k{number}", count=1)
        room.join(f"m{number}")
        for key in [*room.keys, NAMES.own("lobby", "node")]:
            assert room._client.pttl(key) > 0, key


def test_a_room_without_an_end_has_no_expiry(room: Room) -> None:
    room.ttl = 0
    room.publish()
    assert room._client.pttl(room.keys[0]) == -1


def test_an_emptied_history_gets_its_expiry_again(room: Room) -> None:
    room.publish("a")
    room.publish("b" * 2000)
    room.publish("c")
    assert room.log() == ["c"]
    assert room._client.pttl(room.keys[1]) > 0
    assert room._client.pttl(room.keys[2]) > 0


def test_another_fence_begins_a_new_epoch_once(room: Room) -> None:
    first = room.publish("old", latest=1)
    room.fence = "2:other"
    second = room.publish("new")
    assert second[1] != first[1]
    assert second[2] == "1"
    assert room.publish("newer")[1:3] == [second[1], "2"]
    assert room.log() == ["new", "newer"]
    assert room._client.get(room.keys[3]) is None


def test_looking_at_a_room_fences_it_too(room: Room) -> None:
    epoch = room.publish()[1]
    room.fence = "2:other"
    assert room.stand()[1] != epoch
    assert room.stand()[1:3] == [room.publish()[1], "0"]


def test_the_fence_of_a_primary_that_lives_is_a_slot_that_migrated(room: Room) -> None:
    epoch = room.publish()[1]
    room.fence, room.kin = "b", " 1:run b "
    assert room.publish()[1:3] == [epoch, "2"]
    room.kin = " b c "
    assert room.publish()[1:3] == [epoch, "3"]


def test_without_a_fence_a_room_goes_on(room: Room) -> None:
    epoch = room.publish()[1]
    room.fence = ""
    assert room.publish()[1:3] == [epoch, "2"]


def test_keys_and_numbers_are_known_beyond_a_fence(room: Room) -> None:
    """The order took these messages; a retry is no reason to have them twice."""
    first, second = room.publish(key="k", number=1), room.publish(number=2)
    room.fence = "2:other"
    assert room.publish(key="k")[:3] == ["known", *first[1:3]]
    assert room.publish(number=2)[:3] == ["again", *second[1:3]]


def test_a_server_that_comes_back_as_primary_has_another_fence(client: Any) -> None:
    """A fails, B takes over, A takes over again: rooms that were not used on B have lost messages nevertheless."""
    with client:
        fences = [client.eval(GUARD, 1, "fence", run_id) for run_id in ("a", "a", "b", "a")]
        assert fences[0] == fences[1]
        assert len(set(fences)) == 3


def test_members_expire_with_their_process(room: Room) -> None:
    room.join("ada", node="dead", expiry=1)
    for _ in range(1000):
        answer = room.run(ROSTER)
        if not answer[3]:
            break
    assert answer[3] == []
    assert answer[2] == "2"


def test_a_room_takes_so_many_members(room: Room) -> None:
    assert room.join("ada", most_members=1)[0] == "ok"
    assert room.join("bob", most_members=1) == ["full"]
    assert room.join("ada", most_members=1)[0] == "ok"


def test_changes_are_told_with_their_number(room: Room) -> None:
    with room._client.pubsub() as listener:
        listener.subscribe(NAMES.channel("lobby"))
        assert listener.get_message(timeout=5)
        epoch = room.join("ada")[1]
        room.join("ada")
        room.join("bob")
        told = [listener.get_message(timeout=5)["data"] for _ in range(2)]
        assert told == [f'r{epoch} 1 [["joined",["ada",{{}}]]]'.encode(), f'r{epoch} 2 [["joined",["bob",{{}}]]]'.encode()]


def test_only_an_empty_unused_room_is_forgotten(room: Room) -> None:
    room.publish()
    assert room.run(FORGET, 60_000)[0] == "kept"
    room.join("ada")
    assert room.run(FORGET, 0)[0] == "kept"
    other = Room(room._client, "other")
    other.publish(key="k", latest=1)
    assert other.run(FORGET, 0)[0] == "gone"
    assert not room._client.exists(*other.keys)
