import assert from "node:assert/strict";
import { test } from "node:test";
import { ClientError, WebSocketClient } from "../wsdaemon.js";
import { FakeSocket, make, start, turn } from "./fakes.mjs";

test("it connects, gives messages, and sends", async (t) => {
  start(t);
  const { client, told } = await make();
  assert.equal(FakeSocket.last.url, "ws://server.test/path");
  assert.equal(client.state, "connecting");
  FakeSocket.last.open();
  assert.equal(client.state, "open");
  client.send("hello");
  FakeSocket.last.give("text");
  FakeSocket.last.give(new Uint8Array([1, 2]).buffer);
  assert.deepEqual(FakeSocket.last.sent, ["hello"]);
  assert.deepEqual(told, [["open"], ["message", "text"], ["message", new Uint8Array([1, 2])]]);
});

test("a URL of HTTP becomes one of WebSocket, and a relative one needs a page", async (t) => {
  start(t);
  new WebSocketClient("https://server.test/x", { WebSocket: FakeSocket });
  await turn();
  assert.equal(FakeSocket.last.url, "wss://server.test/x");
  assert.throws(() => new WebSocketClient("/x", { WebSocket: FakeSocket }), TypeError);
});

test("options that mean nothing are refused at once", () => {
  for (const options of [{ reconnect: "often" }, { reconnect: "1s" + "-x" }, { pingInterval: "soon" }, { reconnect: "1s" }, { reconnect: "1s-2s-3s" },
    { connectTimeout: "10" }, { connectTimeout: 10 }, { closeTimeout: "1.2.3s" }, { closeTimeout: ".s" }, { pingTimeout: "" }, { pingTimeout: null }]) {
    assert.throws(() => new WebSocketClient("ws://server.test", { WebSocket: FakeSocket, ...options }), TypeError);
  }
});

test("delays double up to the longest, and a connection that lasted begins the row anew", async (t) => {
  start(t);
  const { client, told } = await make({ reconnect: "1s-5s" });
  const delays = [];
  for (let times = 0; times < 5; times++) {
    FakeSocket.last.end();
    const [, attempt, delay] = told.at(-1);
    delays.push([attempt, delay]);
    assert.equal(client.state, "away");
    const made = FakeSocket.made.length;
    await turn(delay * 1e3 - 1);
    assert.equal(FakeSocket.made.length, made);
    await turn(1);
    assert.equal(FakeSocket.made.length, made + 1);
  }
  assert.deepEqual(delays, [[1, 0.5], [2, 1], [3, 2], [4, 2.5], [5, 2.5]]);
  FakeSocket.last.open();
  await turn(999);
  FakeSocket.last.end();
  assert.deepEqual(told.at(-1), ["reconnect", 6, 2.5]);
  await turn(2500);
  FakeSocket.last.open();
  await turn(1000);
  FakeSocket.last.end();
  assert.deepEqual(told.at(-1), ["reconnect", 1, 0.5]);
});

test("the server's hint is the delay", async (t) => {
  start(t);
  for (const [code, reason, delay] of [
    [1012, "restart; retry=7", 7], [1012, "restart; retry=2.5", 2.5], [1001, "going; retry = 3 ; now", 3], [1012, "restart; retry=99999999", 3600],
    [1013, "", 30.5], [1012, "retry=soon", 0.5], [1000, "noretry=3", 0.5],
  ]) {
    const { told } = await make();
    FakeSocket.last.open();
    FakeSocket.last.end(code, reason);
    assert.deepEqual(told.slice(-2), [["close", code, reason], ["reconnect", 1, delay]]);
  }
});

test("a server that sends its clients away again and again does not keep them busy", async (t) => {
  start(t);
  const { told } = await make({ reconnect: "4s-60s" });
  for (const delay of [0, 4, 8]) {
    FakeSocket.last.open();
    FakeSocket.last.end(1012, "restart; retry=0");
    assert.equal(told.at(-1)[2], delay);
    await turn(delay * 1e3);
  }
});

test("4401 is final without a token function, and with one that gives the same token again", async (t) => {
  start(t);
  const fixed = await make({ token: "one" });
  assert.deepEqual(FakeSocket.last.protocols, ["bearer.one"]);
  FakeSocket.last.open();
  FakeSocket.last.end(4401, "expired");
  assert.deepEqual(fixed.names(), ["open", "close", "error"]);
  assert.equal(fixed.told.at(-1)[1].final, true);
  assert.equal(fixed.client.state, "closed");

  const tokens = ["one", "two", "two"];
  const asked = await make({ token: async () => tokens.shift(), subprotocols: "chat" });
  assert.deepEqual(FakeSocket.last.protocols, ["chat", "bearer.one"]);
  FakeSocket.last.open();
  FakeSocket.last.end(4401, "expired");
  assert.equal(asked.client.state, "away");
  await turn(500);
  assert.deepEqual(FakeSocket.last.protocols, ["chat", "bearer.two"]);
  FakeSocket.last.open();
  FakeSocket.last.end(4401, "expired");
  await turn(1000);
  assert.equal(asked.client.state, "closed");
  const [, error] = asked.told.at(-1);
  assert.deepEqual([error.code, error.reason, error.final], [4401, "expired", true]);
});

test("a token in the query, and a token function that fails", async (t) => {
  start(t);
  let fails = true;
  const token = () => { if (fails) throw new Error("no token today"); return "a b"; };
  const { told, client } = await make({ token, tokenFrom: "query:ticket" });
  assert.equal(FakeSocket.made.length, 0);
  assert.equal(told[0][1].message, "no token today");
  assert.equal(client.state, "away");
  fails = false;
  await turn(500);
  assert.equal(FakeSocket.last.url, "ws://server.test/path?ticket=a+b");
  for (const [token, reason] of [[() => Promise.reject(), "undefined"], [() => Promise.reject("out"), "out"], [() => { throw null; }, "null"]]) {
    const { told, client } = await make({ token });
    assert.deepEqual([client.state, told[0][1].message, told[0][1].final], ["away", reason, undefined]);
  }
});

test("an error that no close follows, as in some versions of Node.js", async (t) => {
  start(t);
  const { client, names } = await make();
  FakeSocket.last.onerror({ message: "refused" });
  assert.deepEqual([client.state, names()], ["away", ["error", "reconnect"]]);
});

test("with reconnect off the first loss is the end", async (t) => {
  start(t);
  const { client, names } = await make({ reconnect: "off" });
  FakeSocket.last.open();
  FakeSocket.last.end();
  assert.deepEqual([client.state, names()], ["closed", ["open", "close", "error"]]);
});

test("a subprotocol that no browser takes is final", async (t) => {
  start(t);
  const told = [];
  const client = new WebSocketClient("ws://unusable.test", { WebSocket: FakeSocket, onError: (client, error) => told.push(error) });
  await turn();
  assert.equal(client.state, "closed");
  assert.deepEqual(told.map(({ message, final }) => [message, final]), [["unusable", true]]);
});

test("no answer in time is a failed attempt, whose late events count no more", async (t) => {
  start(t);
  const { client, names } = await make();
  const late = FakeSocket.last;
  await turn(10000);
  assert.deepEqual([client.state, names()], ["away", ["error", "reconnect"]]);
  assert.ok(late.closed);
  late.open();
  late.end();
  assert.deepEqual([client.state, names()], ["away", ["error", "reconnect"]]);
  const hung = await make({ token: () => new Promise(() => {}) });
  await turn(10000);
  assert.equal(hung.client.state, "away");
});

test("close() says goodbye, and ends without an answer too", async (t) => {
  start(t);
  const answered = await make();
  FakeSocket.last.open();
  answered.client.close(4000, "enough");
  assert.deepEqual(FakeSocket.last.closed, [4000, "enough"]);
  assert.throws(() => answered.client.send("late"), { name: "ClientClosed" });
  FakeSocket.last.end(4000, "enough");
  assert.deepEqual(answered.told, [["open"], ["close", 4000, "enough"]]);
  assert.equal(answered.client.state, "closed");

  const silent = await make();
  FakeSocket.last.open();
  silent.client.close();
  silent.client.close();
  assert.equal(silent.client.state, "closing");
  await turn(5000);
  assert.deepEqual([silent.client.state, silent.names()], ["closed", ["open", "close"]]);

  const early = new WebSocketClient("ws://server.test", { WebSocket: FakeSocket }), made = FakeSocket.made.length;
  early.close();
  await turn(60000);
  assert.deepEqual([early.state, FakeSocket.made.length], ["closed", made]);

  const away = await make();
  FakeSocket.last.end();
  away.client.close();
  const before = FakeSocket.made.length;
  await turn(3600e3);
  assert.deepEqual([away.client.state, FakeSocket.made.length], ["closed", before]);
});

test("closing in a callback is the end that the program wanted, and no failure", async (t) => {
  start(t);
  for (const [name, told] of [["onClose", ["open"]], ["onReconnect", ["open", "close"]], ["onOpen", ["close"]], ["onError", []]]) {
    const { client, names } = await make({ [name]: (client) => client.close() });
    if (name !== "onError") FakeSocket.last.open();
    if (name !== "onOpen") FakeSocket.last.end();
    else await turn(5000);
    assert.deepEqual([client.state, names()], ["closed", told]);
    const made = FakeSocket.made.length;
    await turn(3600e3);
    assert.equal(FakeSocket.made.length, made);
  }
});

test("a client that its program closes when the machine was asleep does not come back", async (t) => {
  start(t);
  for (const options of [{ onClose: (client) => client.close() }, { reconnect: "off" }]) {
    const { client } = await make(options), now = Date.now, made = FakeSocket.made.length;
    FakeSocket.last.open();
    let slept = 0;
    const clock = t.mock.method(Date, "now", () => now() + slept);
    let timers;
    for (let times = 0; times < 3; times++) {
      slept += 600e3;
      await turn(25000);
      assert.deepEqual([client.state, FakeSocket.made.length], ["closed", made]);
      await turn(60000);
      timers ??= t.mock.method(globalThis, "setTimeout");
    }
    assert.deepEqual([FakeSocket.made.length, timers.mock.callCount()], [made, 0]); // nothing keeps the program of Node.js alive
    timers.mock.restore();
    clock.mock.restore();
  }
});

test("messages wait in order while the client is away, behind those of onOpen", async (t) => {
  start(t);
  const { client } = await make({ onOpen: undefined });
  client.send("one");
  client.send("two");
  FakeSocket.last.open();
  assert.deepEqual(FakeSocket.last.sent, ["one", "two"]);
  FakeSocket.last.readyState = 2; // the closing handshake has begun
  client.send("three");
  FakeSocket.last.end();
  await turn(500);
  FakeSocket.last.open();
  assert.deepEqual(FakeSocket.last.sent, ["three"]);
});

test("the queue is bounded by messages and by bytes", async (t) => {
  start(t);
  const { client: refusing } = await make({ queueMessages: 2, queueBytes: 10 });
  refusing.send("one");
  refusing.send("two");
  assert.throws(() => refusing.send("three"), (error) => error instanceof ClientError && error.name === "QueueFull");
  FakeSocket.last.open();
  assert.deepEqual(FakeSocket.last.sent, ["one", "two"]);
  FakeSocket.last.end();
  assert.throws(() => refusing.send(new Uint8Array(11)), { name: "QueueFull" }); // even alone
  refusing.send(new Uint8Array(10));
  assert.throws(() => refusing.send("x"), { name: "QueueFull" });

  const { client: dropping } = await make({ queue: "drop_oldest", queueMessages: 3, queueBytes: 10 });
  for (const message of ["12345", "67890", "abc", "d", "e"]) dropping.send(message);
  assert.equal(dropping.dropped, 2);
  assert.throws(() => dropping.send("larger than all"), { name: "QueueFull" }); // and drops nothing
  assert.equal(dropping.dropped, 2);
  FakeSocket.last.open();
  assert.deepEqual(FakeSocket.last.sent, ["abc", "d", "e"]);
});

test("a value without a size is no message", async (t) => {
  start(t);
  const { client } = await make();
  for (const value of [{}, 7, true, null, undefined, { length: "x" }]) assert.throws(() => client.send(value), TypeError);
  client.send("");
  client.send(new Blob(["x"]));
  client.send(new DataView(new ArrayBuffer(1)));
  FakeSocket.last.open();
  assert.equal(FakeSocket.last.sent.length, 3);
});

test("a server that reads too slowly fills the queue, not the browser", async (t) => {
  start(t);
  const { client } = await make({ queueBytes: 10, queueMessages: 1 });
  const socket = FakeSocket.last;
  socket.open();
  socket.bufferedAmount = 10;
  client.send("waits");
  assert.throws(() => client.send("more"), { name: "QueueFull" });
  await turn(200);
  assert.deepEqual(socket.sent, []);
  socket.bufferedAmount = 0;
  await turn(50);
  assert.deepEqual(socket.sent, ["waits"]);
});

test("a ping message finds a dead network", async (t) => {
  start(t);
  const { client, told } = await make({ pingMessage: "ping?" });
  const socket = FakeSocket.last;
  socket.open();
  await turn(25000);
  assert.deepEqual(socket.sent, ["ping?"]);
  socket.give("anything");
  await turn(24999);
  assert.equal(client.state, "open");
  await turn(1);
  await turn(10000);
  assert.deepEqual(told.slice(-2), [["close", 1006, "no answer"], ["reconnect", 1, 0.5]]);
  assert.ok(socket.closed);
  socket.end();
  assert.equal(told.at(-1)[0], "reconnect");
});

test("a clock that jumps shows that the machine was asleep", async (t) => {
  start(t);
  const plain = await make();
  FakeSocket.last.open();
  await turn(25000);
  await turn(25000);
  assert.equal(plain.client.state, "open");
  const now = Date.now;
  let slept = 600e3;
  t.mock.method(Date, "now", () => now() + slept);
  await turn(25000);
  assert.deepEqual(plain.told.slice(-2), [["close", 1006, "asleep"], ["reconnect", 1, 0.5]]);
  plain.client.close();
  const asking = await make({ pingMessage: "ping?" });
  FakeSocket.last.open();
  slept *= 2;
  await turn(25000);
  assert.deepEqual([asking.client.state, FakeSocket.last.sent], ["open", ["ping?"]]); // it asks first
  FakeSocket.last.give("pong");
  await turn(10000);
  assert.equal(asking.client.state, "open");
});

test("a callback that fails is the program's own error, and changes nothing besides", async (t) => {
  start(t);
  const { client } = await make({ onMessage: () => { throw new Error("of the program"); } });
  FakeSocket.last.open();
  FakeSocket.last.give("text");
  await assert.rejects(turn(1), /of the program/);
  assert.equal(client.state, "open");
});

// -- in a page

test("it waits until the browser is online and the page visible", async (t) => {
  start(t);
  const document = Object.assign(new EventTarget(), { hidden: false }), network = new EventTarget(), navigator = { onLine: true };
  const kept = ["document", "navigator", "addEventListener", "removeEventListener"].map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]);
  const put = (name, value) => Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  put("document", document);
  put("navigator", navigator);
  put("addEventListener", network.addEventListener.bind(network));
  put("removeEventListener", network.removeEventListener.bind(network));
  t.after(() => kept.forEach(([name, before]) => before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  const { WebSocketClient } = await import("../wsdaemon.js?in-a-page");
  const make = async (options) => {
    const client = new WebSocketClient("ws://server.test", { WebSocket: FakeSocket, ...options });
    await turn();
    FakeSocket.last.open();
    return client;
  };

  const client = await make();
  navigator.onLine = false;
  FakeSocket.last.end();
  const made = FakeSocket.made.length;
  await turn(3600e3);
  assert.deepEqual([client.state, FakeSocket.made.length], ["away", made]);
  navigator.onLine = true;
  network.dispatchEvent(new Event("online"));
  await turn(500); // a draw of up to a second: a whole office is online at once
  assert.equal(FakeSocket.made.length, made + 1);
  FakeSocket.last.open();

  document.hidden = true;
  FakeSocket.last.end();
  await turn(3600e3);
  assert.equal(FakeSocket.made.length, made + 1);
  document.hidden = false;
  document.dispatchEvent(new Event("visibilitychange"));
  await turn(500);
  assert.equal(FakeSocket.made.length, made + 2);

  let count = made + 2;
  for (const [code, reason, delay] of [[1012, "restart; retry=20", 20000], [1013, "unavailable", 30500]]) {
    FakeSocket.last.open();
    FakeSocket.last.end(code, reason); // a hint: the server's own delay is kept
    document.dispatchEvent(new Event("visibilitychange"));
    network.dispatchEvent(new Event("online"));
    await turn(delay - 1);
    assert.equal(FakeSocket.made.length, count);
    await turn(1);
    assert.equal(FakeSocket.made.length, ++count);
  }
  client.close();

  const always = await make({ whileHidden: true });
  document.hidden = true;
  FakeSocket.last.end();
  await turn(500);
  assert.equal(FakeSocket.made.length, made + 6);
  FakeSocket.last.end(); // up to two seconds now: a second
  document.dispatchEvent(new Event("visibilitychange")); // it is hidden, not shown: nothing is cut short
  await turn(999);
  assert.equal(FakeSocket.made.length, made + 6);
  await turn(1);
  assert.equal(FakeSocket.made.length, made + 7);
  FakeSocket.last.end(); // two seconds
  network.dispatchEvent(new Event("online"));
  await turn(500);
  assert.equal(FakeSocket.made.length, made + 8);
  always.close();
  document.hidden = false;
  document.dispatchEvent(new Event("visibilitychange")); // a closed client listens no more
  await turn(3600e3);
  assert.equal(FakeSocket.made.length, made + 8);

  const asking = await make({ pingMessage: "ping?" }), socket = FakeSocket.last;
  document.hidden = true;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(socket.sent, []);
  document.hidden = false;
  document.dispatchEvent(new Event("visibilitychange"));
  assert.deepEqual(socket.sent, ["ping?"]);
  await turn(10000);
  assert.equal(asking.state, "away");
});
