import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeSocket, make, start, turn } from "./fakes.mjs";

const message = (offset, data = `m${offset}`, epoch = "e1") => ({ type: "message", room: "lobby", epoch, offset, time: 1, publisher: "p", data });

function answer(fields) {
  const { id, room } = FakeSocket.last.events.at(-1);
  FakeSocket.last.give({ id, room, ...fields });
}

const subscribed = (fields) => answer({ type: "subscribed", member: "me", epoch: "e1", offset: 0, messages: [], ...fields });

// A client in the room lobby, and all that its subscription tells.
async function enter(options = {}, answered = {}) {
  const told = [], tell = (name) => (given) => told.push([name, given.data ?? given.offset ?? given.id ?? given.code ?? given.message]);
  const made = await make({ onClose: undefined });
  const room = made.client.room("lobby");
  const given = Object.fromEntries(["onGap", "onJoined", "onLeft", "onEnd"].map((name) => [name, tell(name)]));
  room.subscribe(tell("message"), { ...given, ...options });
  await turn(60000);
  FakeSocket.last.open();
  subscribed(answered);
  return { ...made, room, told };
}

async function again(made) {
  FakeSocket.last.end();
  await turn(60000);
  FakeSocket.last.open();
  return made;
}

test("rooms are a subprotocol, which a client that uses them offers", async (t) => {
  start(t);
  const { client } = await make({ subprotocols: ["chat"] });
  assert.deepEqual(FakeSocket.last.protocols, ["chat"]);
  FakeSocket.last.open();
  client.room("lobby").subscribe(() => {});
  await turn(0);
  assert.deepEqual(FakeSocket.last.protocols, ["rooms.v1.json", "chat"]);
  FakeSocket.last.open("chat");
  assert.equal(client.state, "closed"); // the server does not speak it
  assert.equal(client.room("lobby"), client.room("lobby"));
});

test("a room on a client that is connecting needs another connection, also with reconnect off", async (t) => {
  start(t);
  for (const opens of [false, true]) {
    const { client } = await make({ reconnect: "off" });
    if (opens) FakeSocket.last.open();
    const told = [];
    client.room("lobby").subscribe(() => {}, { onEnd: ({ name }) => told.push(name) });
    await turn(1);
    assert.deepEqual(FakeSocket.last.protocols, ["rooms.v1.json"]);
    FakeSocket.last.open();
    assert.deepEqual([client.state, told], ["open", []]);
    FakeSocket.last.end(); // this loss is the end
    assert.deepEqual([client.state, told], ["closed", ["ConnectionClosed"]]);
  }
});

test("a closed client has no subscriptions", async (t) => {
  start(t);
  const { client } = await make();
  const room = client.room("lobby");
  client.close();
  assert.equal(client.state, "closed");
  assert.throws(() => room.subscribe(() => {}), { name: "ClientClosed" });
  assert.throws(() => client.room("other").subscribe(() => {}), { name: "ClientClosed" });
});

test("a room has a position and members before its subscription", async (t) => {
  start(t);
  const { client } = await make();
  const { epoch, offset, members } = client.room("lobby");
  assert.deepEqual([epoch, offset, members], ["", 0, new Map()]);
});

test("messages come once and in order, over two connections", async (t) => {
  start(t);
  const { room, told } = await enter({}, { offset: 3 });
  assert.deepEqual(FakeSocket.last.events, [{ type: "subscribe", room: "lobby", id: 1, presence: false }]);
  FakeSocket.last.give(message(4));
  FakeSocket.last.give(message(4));
  FakeSocket.last.give(message(3));
  await again();
  assert.deepEqual(FakeSocket.last.events[0].since, { epoch: "e1", offset: 4 });
  FakeSocket.last.give(message(5)); // the earlier part of a long history comes before the answer
  subscribed({ offset: 7, messages: [message(6), message(7)] });
  FakeSocket.last.give(message(8));
  assert.deepEqual(told.map(([, data]) => data), ["m4", "m5", "m6", "m7", "m8"]);
  assert.deepEqual([room.epoch, room.offset, room.member], ["e1", 8, "me"]);
});

test("gaps are told: of the answer, of the event, of a hole, of another epoch", async (t) => {
  start(t);
  const { told, room } = await enter({}, { offset: 3 });
  FakeSocket.last.give(message(6)); // slow_client = drop_oldest
  FakeSocket.last.give({ type: "gap", room: "lobby", epoch: "e1", offset: 9, messages: [message(9)] });
  await again();
  subscribed({ gap: true, offset: 20 });
  await again();
  subscribed({ epoch: "e2", offset: 0 });
  FakeSocket.last.give(message(1, "anew", "e2"));
  assert.deepEqual(told, [["onGap", 5], ["message", "m6"], ["onGap", 9], ["message", "m9"], ["onGap", 20], ["onGap", 0], ["message", "anew"]]);
  assert.deepEqual([room.epoch, room.offset], ["e2", 1]);
});

test("a newcomer is told of no gap, and gets the latest message", async (t) => {
  start(t);
  const { told } = await enter({}, { offset: 7, latest: message(7) });
  assert.deepEqual(told, [["message", "m7"]]);
});

test("a position that the program knows", async (t) => {
  start(t);
  const { told } = await enter({ since: { epoch: "e1", offset: 5 } }, { offset: 6, messages: [message(6)] });
  assert.deepEqual(FakeSocket.last.events[0].since, { epoch: "e1", offset: 5 });
  assert.deepEqual(told, [["message", "m6"]]);
});

test("members", async (t) => {
  start(t);
  const { room, told } = await enter({ presence: true }, { present: [{ id: "a" }, { id: "b" }] });
  assert.equal(FakeSocket.last.events[0].presence, true);
  FakeSocket.last.give({ type: "joined", room: "lobby", members: [{ id: "c" }] });
  FakeSocket.last.give({ type: "left", room: "lobby", members: [{ id: "a" }] });
  assert.deepEqual([...room.members.keys()], ["b", "c"]);
  assert.deepEqual(told, [["onJoined", "c"], ["onLeft", "a"]]);
});

test("binary messages, in and out", async (t) => {
  start(t);
  const { room, told } = await enter();
  FakeSocket.last.give({ ...message(1, "AQL/"), encoding: "base64" });
  assert.deepEqual(told[0][1], new Uint8Array([1, 2, 255]));
  room.publish(new Uint8Array([1, 2, 255]).buffer);
  const { data, encoding, echo } = FakeSocket.last.events.at(-1);
  assert.deepEqual([data, encoding, echo], ["AQL/", "base64", true]);
});

test("an answered publication", async (t) => {
  start(t);
  const { room } = await enter();
  const published = room.publish("hello", { key: "k" });
  assert.deepEqual(FakeSocket.last.events.at(-1), { type: "publish", room: "lobby", id: 2, data: "hello", key: "k", echo: true });
  answer({ type: "published", epoch: "e1", offset: 1, duplicate: false });
  const { epoch, offset, duplicate } = await published;
  assert.deepEqual([epoch, offset, duplicate], ["e1", 1, false]);
  const refused = room.publish("hello");
  answer({ type: "error", room: undefined, code: "rate_limited", message: "too fast", retry_after: 2 });
  await assert.rejects(refused, { name: "RoomError", code: "rate_limited", retryAfter: 2, message: "too fast" });
  const open = room.publish("hello", { key: "mine" }); // it may be there: the key makes it safe to repeat
  answer({ type: "error", room: undefined, code: "unavailable", message: "later" });
  await assert.rejects(open, { name: "RoomError", code: "unavailable", key: "mine" });
});

test("publications wait for their room, and are repeated with their key", async (t) => {
  start(t);
  const { room } = await enter();
  const published = room.publish("hello"), { key } = FakeSocket.last.events.at(-1);
  assert.ok(key.length > 10);
  await again();
  room.publish("second");
  assert.deepEqual(FakeSocket.last.events.map(({ type }) => type), ["subscribe"]);
  subscribed();
  assert.deepEqual(FakeSocket.last.events.map(({ type, data }) => data ?? type), ["subscribe", "hello", "second"]);
  assert.equal(FakeSocket.last.events[1].key, key);
  const [, { id }] = FakeSocket.last.events;
  FakeSocket.last.give({ type: "published", id, room: "lobby", epoch: "e1", offset: 1, duplicate: true });
  assert.equal((await published).duplicate, true);
});

test("uncertain: after 120 s, in a room that has begun anew, in a room without a subscription, and at the end", async (t) => {
  start(t);
  const uncertain = (promise, data) => assert.rejects(promise, { name: "Uncertain", data });
  const { room, client } = await enter();
  const late = uncertain(room.publish("late"), "late");
  await turn(120000);
  await late;
  const anew = uncertain(room.publish("anew"), "anew");
  await again();
  subscribed({ epoch: "e2" });
  await anew;
  assert.deepEqual(FakeSocket.last.events.map(({ type }) => type), ["subscribe"]);
  const other = uncertain(client.room("other").publish("other"), "other");
  assert.equal(FakeSocket.last.events.at(-1).echo, false);
  const kept = uncertain(room.publish("kept"), "kept");
  await again();
  await other;
  subscribed({ epoch: "e2" });
  const waits = client.room("third").ask("history");
  client.close();
  FakeSocket.last.end(1000);
  await kept;
  await assert.rejects(waits, { name: "ConnectionClosed", code: 1000, final: true });
  await assert.rejects(room.publish("no more"), { name: "ClientClosed" });
});

test("a publication that was not sent waits for the connection", async (t) => {
  start(t);
  const { client } = await enter();
  FakeSocket.last.end();
  client.room("other").publish("waits");
  await turn(60000);
  FakeSocket.last.open();
  assert.deepEqual(FakeSocket.last.events.map(({ type, room }) => [type, room]), [["subscribe", "lobby"], ["publish", "other"]]);
});

test("history and presence are asked for again after a loss", async (t) => {
  start(t);
  const { room } = await enter();
  const past = room.ask("history", { limit: 2, reverse: true });
  await again();
  const asked = FakeSocket.last.events.at(-1);
  assert.deepEqual([asked.type, asked.limit, asked.reverse], ["history", 2, true]);
  answer({ type: "history", epoch: "e1", offset: 9, first: 1, more: true, messages: [{ ...message(9, "AQI="), encoding: "base64" }] });
  assert.deepEqual((await past).messages[0].data, new Uint8Array([1, 2]));
  const present = room.ask("presence");
  answer({ type: "presence", count: 1, members: [{ id: "me" }] });
  assert.equal((await present).count, 1);
});

test("a thousand requests of a room may wait", async (t) => {
  start(t);
  const { room } = await enter();
  const kept = [];
  for (let times = 0; times < 1000; times++) kept.push(room.ask("presence"));
  await assert.rejects(room.ask("presence"), { name: "QueueFull" });
});

test("a room that refuses for now is asked again, one that refuses for good ends the subscription", async (t) => {
  start(t);
  const { room, told } = await enter();
  await again();
  answer({ type: "error", room: undefined, code: "room_full", message: "full" });
  await turn(999);
  assert.equal(FakeSocket.last.events.length, 1);
  await turn(1);
  assert.equal(FakeSocket.last.events.length, 2);
  answer({ type: "error", room: undefined, code: "rate_limited", retry_after: 3 });
  await turn(4999);
  assert.equal(FakeSocket.last.events.length, 2);
  await turn(1);
  assert.equal(FakeSocket.last.events.length, 3);
  answer({ type: "error", room: undefined, code: "forbidden", message: "no" });
  assert.deepEqual(told, [["onEnd", "forbidden"]]);
  room.subscribe(() => {});
  assert.throws(() => room.subscribe(() => {}), { name: "RoomError", code: "already_subscribed" });
  answer({ type: "error", room: undefined, code: "room_full", message: "full" }); // a newcomer has nothing to resume
  room.subscribe(() => {});
});

test("unsubscribe, and subscribe again", async (t) => {
  start(t);
  const { room, told } = await enter();
  room.unsubscribe();
  assert.equal(FakeSocket.last.events.at(-1).type, "unsubscribe");
  FakeSocket.last.give(message(1));
  assert.deepEqual(told, []);
  room.subscribe(({ data }) => told.push(data), { since: { epoch: "e1", offset: 0 } });
  subscribed({ offset: 2, messages: [message(1), message(2)] });
  assert.deepEqual(told, ["m1", "m2"]);
  room.unsubscribe();
  room.subscribe(() => {}); // anew, as a newcomer
  assert.equal(FakeSocket.last.events.at(-1).since, undefined);
});

test("a dead network is found by itself, and a server that breaks the rules is left", async (t) => {
  start(t);
  const { client } = await enter();
  await turn(25000);
  assert.deepEqual(FakeSocket.last.events.at(-1), { type: "ping" });
  await turn(10000);
  assert.equal(client.state, "away");
  await turn(60000);
  FakeSocket.last.open();
  FakeSocket.last.give("no JSON");
  assert.equal(client.state, "away");
});
