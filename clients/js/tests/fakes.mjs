// A WebSocket that tests drive, and a clock that they turn.
import { mock } from "node:test";
import { WebSocketClient } from "../wsdaemon.js";

export class FakeSocket {
  static made = [];
  readyState = 0; bufferedAmount = 0; protocol = ""; sent = [];

  constructor(url, protocols) {
    if (url.includes("unusable")) throw new SyntaxError("unusable");
    Object.assign(this, { url, protocols });
    FakeSocket.made.push(this);
  }

  send(message) { this.sent.push(message); }
  close(code, reason) { this.closed = [code, reason]; this.readyState = 2; }

  // -- for tests

  static get last() { return FakeSocket.made.at(-1); }
  get events() { return this.sent.map((each) => JSON.parse(each)); }
  open(protocol = this.protocols[0] ?? "") { Object.assign(this, { readyState: 1, protocol }); this.onopen(); }
  give(data) { this.onmessage({ data: typeof data === "object" && !(data instanceof ArrayBuffer) ? JSON.stringify(data) : data }); }
  end(code = 1006, reason = "") { this.readyState = 3; this.onclose({ code, reason }); }
}

// Math.random() is always this: delays are half of their range.
export function start(test, { draw = 0.5 } = {}) {
  FakeSocket.made = [];
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1e12 });
  mock.method(Math, "random", () => draw);
  test.after(() => { mock.timers.reset(); mock.restoreAll(); });
}

export async function turn(milliseconds = 0) {
  mock.timers.tick(milliseconds);
  for (let times = 0; times < 10; times++) await null; // promises
}

// A client and all that it tells.
export async function make(options = {}) {
  const told = [];
  const tell = (name) => (client, ...given) => told.push([name, ...given]);
  const client = new WebSocketClient("ws://server.test/path#here", {
    WebSocket: FakeSocket, onMessage: tell("message"), onClose: tell("close"), onReconnect: tell("reconnect"), onError: tell("error"), onOpen: tell("open"), ...options,
  });
  await turn();
  return { client, told, names: () => told.map(([name]) => name) };
}
