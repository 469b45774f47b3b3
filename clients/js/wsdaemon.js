// A WebSocket client that stays connected: docs/javascript.md
const { location, document, navigator } = globalThis, ROOMS = "rooms.v1.json";

const draw = (most, least = 0) => least + Math.random() * (most - least);
const sizeOf = (message) => message.byteLength ?? message.size ?? message.length;

function milliseconds(text) {
  const [, count, unit] = /^([\d.]+)(ms|s|m|h)$/.exec(text); // else a TypeError
  return count * { ms: 1, s: 1e3, m: 6e4, h: 36e5 }[unit];
}

export class ClientError extends Error {
  constructor(name, fields) {
    super(fields?.reason || name);
    Object.assign(this, { name }, fields);
  }
}

export function WebSocketClient(address, options) {
  const client = Object.assign(this, {
    state: "connecting", socket: null, dropped: 0, WebSocket: globalThis.WebSocket, subprotocols: [], tokenFrom: "subprotocol:bearer.", whileHidden: false,
    reconnect: "1s-60s", connectTimeout: "10s", closeTimeout: "5s", pingInterval: "25s", pingTimeout: "10s",
    queue: "refuse", queueMessages: 1000, queueBytes: 4194304,
  }, options);
  const queue = [], rooms = new Map(), timers = {}, url = new URL(address, location?.href);
  const [first, most] = client.reconnect === "off" ? [] : client.reconnect.split("-").map(milliseconds), interval = milliseconds(client.pingInterval);
  let bytes = 0, attempt, refused, failures = 0, openedAt = 0, heard = 0, hint, number = 0;
  url.protocol = url.protocol.replace("http", "ws");
  url.hash = "";

  client.send = (message) => {
    const size = sizeOf(message);
    if (/clos/.test(client.state)) throw new ClientError("ClientClosed");
    while (queue.length && (queue.length >= client.queueMessages || bytes + size > client.queueBytes)) {
      if (client.queue === "refuse") throw new ClientError("QueueFull");
      bytes -= sizeOf(queue.shift());
      client.dropped++;
    }
    queue.push(message);
    bytes += size;
    flush();
  };

  client.close = (code = 1000, reason = "") => {
    if (/clos/.test(client.state)) return;
    client.state = "closing";
    stop();
    if (!openedAt) return lost();
    after(client.closeTimeout, "close", lost);
    client.socket.close(code, reason);
  };

  client.room = (name) => {
    if (!rooms.size && client.socket) lost({ reason: ROOMS }, 0);
    if (!rooms.has(name)) rooms.set(name, makeRoom(name));
    return rooms.get(name);
  };

  async function connect() {
    const own = attempt = {}, protocols = [client.subprotocols].flat(), [kind, name] = client.tokenFrom.split(":"), to = new URL(url);
    let final;
    client.state = "connecting";
    after(client.connectTimeout, "connect", lost);
    try {
      const token = own.token = typeof client.token === "function" ? await client.token() : client.token;
      if (own !== attempt) return;
      final = true;
      if (refused && refused.token === token) return lost({ ...refused, final });
      if (rooms.size) protocols.unshift(ROOMS);
      if (token) kind === "query" ? to.searchParams.set(name, token) : protocols.push(name + token);
      const socket = client.socket = new client.WebSocket(to.href, protocols);
      socket.binaryType = "arraybuffer";
      socket.onopen = opened;
      socket.onmessage = received;
      socket.onclose = socket.onerror = lost;
    } catch (error) {
      if (own === attempt) lost({ reason: error.message, final });
    }
  }

  function opened() {
    let last = openedAt = Date.now();
    stop();
    if (rooms.size && client.socket.protocol !== ROOMS) return lost({ reason: "no " + ROOMS, final: true });
    after(interval, "ping", function look() {
      probe(Date.now() - last > interval + 9e4);
      last = Date.now();
      after(interval, "ping", look);
    });
    client.state = "open";
    refused = null;
    rooms.forEach((room) => room.opened());
    call(client.onOpen, client);
    flush();
  }

  function received({ data }) {
    heard++;
    if (!rooms.size) return call(client.onMessage, client, data.at ? data : new Uint8Array(data));
    try {
      const event = JSON.parse(data), room = rooms.get(event.room);
      (room ? [room] : rooms).forEach((each) => each.received(event));
    } catch (error) {
      lost({ reason: error.message });
    }
  }

  function probe(asleep) {
    const message = client.pingMessage ?? (rooms.size && '{"type":"ping"}'), before = heard;
    if (message) {
      client.socket.send(message);
      after(client.pingTimeout, "pong", () => before === heard && lost({ reason: "no answer" }));
    } else if (asleep) lost({ reason: "asleep" });
  }

  function lost({ code = 1006, reason = "", final } = {}, delay) {
    const { socket } = client, lived = openedAt, error = new ClientError(lived ? "ConnectionClosed" : "ConnectFailed", { code, reason, final });
    const fresh = code === 4401 && typeof client.token === "function" && (refused = { code, reason, ...attempt });
    stop();
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = socket.onerror = () => {};
      socket.close();
    }
    client.socket = attempt = null;
    openedAt = 0;
    if (client.state !== "closing") client.state = "away";
    if (lived) {
      rooms.forEach((room) => room.lost());
      call(client.onClose, client, code, reason);
      if (Date.now() - lived >= first) failures = 0;
    }
    if (/clos/.test(client.state) || final || !most || (code === 4401 && !fresh)) return end(error);
    if (!lived) call(client.onError, client, error);
    const jitter = draw(Math.min(most, first * 2 ** failures++));
    hint = /(?:^|;) *retry *= *([\d.]+) *(?:;|$)/.exec(lived && reason);
    delay ??= hint ? Math.max(Math.min(hint[1] * 1e3, 36e5), failures > 1 && jitter) : code === 1013 ? draw(most, first) : jitter;
    call(client.onReconnect, client, failures, delay / 1e3);
    if (client.state === "away") again(delay);
  }

  function again(delay) {
    after(delay, "wait", () => {
      hint = null;
      if (navigator?.onLine !== false && (client.whileHidden || !document?.hidden)) connect();
    });
  }

  function hurry() {
    if (openedAt) probe();
    else if (client.state === "away" && !hint) again(draw(first));
  }

  function listen(method) {
    globalThis[method]?.("online", hurry);
    document?.[method]("visibilitychange", hurry);
  }

  function end(error) {
    const failed = client.state !== "closing";
    client.state = "closed";
    listen("removeEventListener");
    error.final = true;
    rooms.forEach((room) => room.end(error));
    if (failed) call(client.onError, client, error);
  }

  function flush() {
    const { socket } = client;
    while (queue.length && socket?.readyState === 1 && socket.bufferedAmount < client.queueBytes) {
      bytes -= sizeOf(queue[0]);
      socket.send(queue.shift());
    }
    if (queue.length && openedAt) after(50, "flush", flush);
  }

  function after(delay, name, action) {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(action, delay.at ? milliseconds(delay) : delay);
  }

  function stop() {
    for (const name in timers) clearTimeout(timers[name]);
  }

  function call(callback, ...given) {
    try {
      callback?.(...given);
    } catch (error) {
      setTimeout(() => { throw error; }, 0);
    }
  }

  function makeRoom(name) {
    const room = { name }, requests = new Map(), tell = (event, given) => call(on?.["on" + event], given);
    let on, asked, inside, refusals = 0;

    function put(type, fields) {
      if (openedAt) client.socket.send(JSON.stringify({ type, room: name, ...fields }));
    }

    room.subscribe = (onMessage, { since, ...others } = {}) => {
      if (on) throw new ClientError("RoomError", { code: "already_subscribed" });
      on = { onMessage, ...others };
      enter(Object.assign(room, { epoch: "", offset: 0, members: new Map() }, since));
      return room;
    };

    room.unsubscribe = () => {
      if (asked) put("unsubscribe", { id: ++number });
      on = asked = inside = null;
      send();
    };

    room.publish = (data, { key = crypto.getRandomValues(new Uint32Array(4)).join(), echo } = {}) => {
      const encoding = typeof data === "string" ? undefined : "base64";
      if (encoding) data = btoa(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(""));
      return room.ask("publish", { data, encoding, key, echo: !!(echo || on) });
    };

    room.ask = (type, fields) => new Promise((give, fail) => {
      if (/clos/.test(client.state)) throw new ClientError("ClientClosed");
      if (requests.size > 999) throw new ClientError("QueueFull");
      requests.set(++number, { type, fields: { id: number, ...fields }, give, fail });
      send();
    });

    function enter() {
      const { epoch, offset } = room;
      if (openedAt && on && !asked) put("subscribe", { id: asked = ++number, presence: !!on.presence, since: epoch ? { epoch, offset } : undefined });
      send();
    }

    function send() { // publications wait for their room's epoch
      for (const request of requests.values()) {
        const { type, fields, here, sent, epoch } = request;
        if (!openedAt || here || (fields.key && on && !inside)) continue;
        if (sent && (!on || epoch !== room.epoch || Date.now() - sent > 11e4)) uncertain(request);
        else {
          request.here = true;
          if (fields.key && !sent) Object.assign(request, { sent: Date.now(), epoch: room.epoch, timer: setTimeout(uncertain, 12e4, request) });
          put(type, fields);
        }
      }
    }

    function settle({ timer, fields }) {
      clearTimeout(timer);
      requests.delete(fields.id);
    }

    function uncertain(request) {
      settle(request);
      request.fail(new ClientError("Uncertain", request.fields));
    }

    room.opened = enter;

    room.lost = () => {
      asked = inside = null;
      for (const request of requests.values()) {
        request.here = null;
        if (request.sent && !on) uncertain(request);
      }
    };

    room.end = (error) => {
      for (const request of requests.values()) request.sent ? uncertain(request) : request.fail(error);
      tell("End", error);
      on = null;
    };

    room.received = (event) => {
      const { id, type, code, retry_after: retryAfter = 0, message, latest, messages = [], members = [] } = event, request = requests.get(id);
      const error = type === "error" && new ClientError("RoomError", { code, retryAfter, reason: message });
      for (const each of [event, latest, ...messages]) {
        if (each?.encoding) each.data = Uint8Array.from(atob(each.data), (byte) => byte.charCodeAt());
      }
      if (request) {
        settle(request);
        error ? request.fail(error) : request.give(event);
      } else if (id) {
        if (id === asked) error ? turnedAway(error) : entered(event);
      } else if (!on) return;
      else if (type === "message") came(event);
      else if (type === "gap") goOn(event, true, messages);
      else members.forEach((member) => {
        type === "left" ? room.members.delete(member.id) : room.members.set(member.id, member);
        tell(type === "left" ? "Left" : "Joined", member);
      });
    };

    function entered(event) {
      const { epoch, offset, latest, messages, gap, member } = event, knew = room.epoch;
      messages.forEach(came);
      goOn(event, gap || (knew && (room.epoch !== epoch || room.offset !== offset)), latest && [latest]);
      room.member = member;
      inside = true;
      refusals = 0;
      tell("Entered", room);
      send();
    }

    function turnedAway(error) {
      const { code, retryAfter } = error;
      asked = null;
      if (/rate_|unavailable|closed/.test(code) || (room.epoch && !/bad_|forbidden/.test(code))) {
        setTimeout(enter, retryAfter * 1e3 + draw(Math.min(3e4, 1e3 * 2 ** ++refusals)));
      } else {
        tell("End", error);
        room.unsubscribe();
      }
    }

    function came(message) {
      const { epoch, offset } = message, same = epoch === room.epoch;
      if (same && offset <= room.offset) return;
      goOn({ epoch, offset: offset - 1 }, room.epoch && !(same && offset === room.offset + 1));
      room.offset = offset;
      tell("Message", message);
    }

    function goOn({ epoch, offset, present }, gap, messages) {
      Object.assign(room, { epoch, offset });
      if (gap) tell("Gap", { room: name, epoch, offset });
      if (present) room.members = new Map(present.map((member) => [member.id, member]));
      messages?.forEach((each) => tell("Message", each));
    }

    return room;
  }

  listen("addEventListener");
  after(0, "wait", connect);
}
