// docs/javascript.md
const { location, document, navigator } = globalThis, ROOMS = "rooms.v1.json";

const draw = (most, least = 0) => least + Math.random() * (most - least);
const sizeOf = (message) => message.byteLength ?? message.size ?? message.length;

function parse(text) {
	const [, count, unit] = /^(\d+\.?\d*)(ms|s|m|h)$/.exec(text);
	return count * { ms: 1, s: 1e3, m: 6e4, h: 36e5 }[unit];
}

export class ClientError extends Error {
	constructor(name, fields) {
		super(fields?.reason || name);
		Object.assign(this, { name }, fields);
	}
}

export function WebSocketClient(address, options) {
	const times = { connectTimeout: "10s", closeTimeout: "5s", pingInterval: "25s", pingTimeout: "10s" }, timers = {};
	const client = Object.assign(this, {
		state: "connecting", socket: null, dropped: 0, WebSocket: globalThis.WebSocket, subprotocols: [], tokenFrom: "subprotocol:bearer.", whileHidden: false,
		reconnect: "1s-60s", queue: "refuse", queueMessages: 1000, queueBytes: 2 ** 22,
	}, times, options);
	const queue = [], rooms = new Map(), url = new URL(address, location?.href);
	const [first, most] = client.reconnect === "off" ? [] : /(.*)-(.*)/.exec(client.reconnect).slice(1).map(parse);
	let bytes = 0, attempt, refused, failures = 0, openedAt = 0, heard = 0, hint, number = 0;
	for (const name in times) times[name] = parse(client[name]);
	url.protocol = url.protocol.replace("http", "ws");
	url.hash = "";

	client.send = (message) => {
		const size = sizeOf(message);
		if (/clos/.test(client.state)) throw new ClientError("ClientClosed");
		if (!(size >= 0)) throw new TypeError("no message");
		while (queue.length >= (client.queueMessages || 1) || bytes + size > client.queueBytes) {
			if (client.queue === "refuse" || size > client.queueBytes) throw new ClientError("QueueFull");
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
		after("closeTimeout", lost);
		client.socket.close(code, reason);
	};

	client.room = (name) => {
		if (!rooms.size && client.socket) lost({ reason: ROOMS }, 0);
		return rooms.get(name) ?? rooms.set(name, makeRoom(name)).get(name);
	};

	async function connect() {
		const own = attempt = {}, protocols = [].concat(client.subprotocols), [kind, name] = client.tokenFrom.split(":"), to = new URL(url);
		client.state = "connecting";
		after("connectTimeout", lost);
		try {
			const token = own.token = typeof client.token === "function" ? await client.token() : client.token;
			if (own !== attempt) return;
			own.final = true;
			if (refused && refused.token === token) return lost(refused);
			if (rooms.size) protocols.unshift(ROOMS);
			if (token) kind === "query" ? to.searchParams.set(name, token) : protocols.push(name + token);
			const socket = client.socket = new client.WebSocket(to.href, protocols);
			socket.binaryType = "arraybuffer";
			socket.onopen = opened;
			socket.onmessage = received;
			socket.onclose = socket.onerror = lost;
		} catch (error) {
			if (own === attempt) lost({ ...own, reason: String(error?.message ?? error) });
		}
	}

	function opened() {
		let last = openedAt = Date.now();
		stop();
		if (rooms.size && client.socket.protocol !== ROOMS) return lost({ reason: "no rooms", final: true });
		after("pingInterval", function look() {
			probe(Date.now() - last > times.pingInterval + 9e4);
			last = Date.now();
			if (openedAt) after("pingInterval", look);
		});
		client.state = "open";
		refused = null;
		rooms.forEach((each) => each.opened());
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
			after("pingTimeout", () => before === heard && lost({ reason: "no answer" }));
		} else if (asleep) lost({ reason: "asleep" });
	}

	function lost({ code = 1006, reason = "", final } = {}, delay) {
		const { socket } = client, lived = openedAt, error = new ClientError(lived ? "ConnectionClosed" : "ConnectFailed", { code, reason, final });
		if (code === 4401) refused = { code, reason, ...attempt };
		stop();
		if (socket) socket.onopen = socket.onmessage = socket.onclose = socket.onerror = () => {};
		socket?.close();
		client.socket = attempt = null;
		openedAt = 0;
		if (!/clos/.test(client.state)) client.state = "away";
		if (lived) {
			rooms.forEach((each) => each.lost());
			call(client.onClose, client, code, reason);
			if (Date.now() - lived >= first) failures = 0;
		}
		if (/clos/.test(client.state) || final || (delay ?? (!most || code === 4401 && typeof client.token !== "function"))) return end(error);
		if (!lived) call(client.onError, client, error);
		if (client.state !== "away") return;
		const jitter = draw(Math.min(most, first * 2 ** failures++));
		hint = /\bretry *= *(\d+\.?\d*)/.exec(lived && reason) || code === 1013;
		delay ??= hint[1] ? Math.max(Math.min(hint[1] * 1e3, 36e5), failures > 1 && jitter) : hint ? draw(most, first) : jitter;
		call(client.onReconnect, client, failures, delay / 1e3);
		if (client.state === "away") after("wait", wake, delay);
	}

	function wake() {
		hint = null;
		if ((client.whileHidden || !document?.hidden) && navigator?.onLine !== false) connect();
	}

	function hurry({ type }) {
		if (document?.hidden && type !== "online") return;
		if (openedAt) probe();
		else if (client.state === "away" && !hint) after("wait", wake, draw(first));
	}

	function listen(method) {
		globalThis[method]?.("online", hurry);
		document?.[method]("visibilitychange", hurry);
	}

	function end(error) {
		const { state } = client;
		client.state = "closed";
		listen("removeEventListener");
		error.final = true;
		rooms.forEach((each) => each.end(error));
		if (state === "away") call(client.onError, client, error);
	}

	function flush() {
		const { socket } = client;
		while (queue.length && socket?.readyState === 1 && socket.bufferedAmount < client.queueBytes) {
			bytes -= sizeOf(queue[0]);
			socket.send(queue.shift());
		}
		if (queue.length && openedAt) after("flush", flush, 50);
	}

	function after(name, action, delay = times[name]) {
		clearTimeout(timers[name]);
		timers[name] = setTimeout(action, delay);
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
		const room = { name, epoch: "", offset: 0, members: new Map() }, requests = new Map(), tell = (event, given) => call(on?.["on" + event], given);
		let on, asked, joined, failures = 0;

		function put(type, fields) {
			if (openedAt) client.socket.send(JSON.stringify({ type, room: name, ...fields }));
		}

		room.subscribe = (onMessage, { since, ...others } = {}) => {
			if (/clos/.test(client.state)) throw new ClientError("ClientClosed");
			if (on) throw new ClientError("RoomError", { code: "already_subscribed" });
			on = { onMessage, ...others };
			enter(Object.assign(room, { epoch: "", offset: 0, members: new Map() }, since));
			return room;
		};

		room.unsubscribe = () => {
			if (asked) put("unsubscribe", { id: ++number });
			on = asked = joined = null;
			send();
		};

		room.publish = (data, { key = crypto.getRandomValues(new Uint8Array(16)).join(), echo } = {}) => {
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

		function send() { // keys wait for the epoch
			requests.forEach((request) => {
				const { type, fields, sent } = request;
				if (!openedAt || request.here || (fields.key && on && !joined)) return;
				if (sent && (!on || request.epoch !== room.epoch || Date.now() - sent > 11e4)) uncertain(request);
				else {
					request.here = true;
					if (fields.key && !sent) Object.assign(request, { sent: Date.now(), epoch: room.epoch, timer: setTimeout(uncertain, 12e4, request) });
					put(type, fields);
				}
			});
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
			asked = joined = null;
			requests.forEach((request) => {
				request.here = null;
				if (request.sent && !on) uncertain(request);
			});
		};

		room.end = (error) => {
			requests.forEach((request) => request.sent ? uncertain(request) : request.fail(error));
			tell("End", error);
			on = null;
		};

		room.received = (event) => {
			const { id, type, code, retry_after: retryAfter = 0, message, latest, messages = [], members = [] } = event, request = requests.get(id);
			const error = type === "error" && new ClientError("RoomError", { code, retryAfter, reason: message, key: request?.fields.key });
			[event, latest, ...messages].forEach((each) => {
				if (each?.encoding) each.data = Uint8Array.from(atob(each.data), (byte) => byte.charCodeAt());
			});
			if (request) {
				settle(request);
				error ? request.fail(error) : request.give(event);
			} else if (id) {
				if (id === asked) error ? rejected(error) : entered(event);
			} else if (!on) return;
			else if (type === "message") came(event);
			else if (type === "gap") goOn(event, true, messages);
			else members.forEach((member) => {
				type === "left" ? room.members.delete(member.id) : room.members.set(member.id, member);
				tell(type === "left" ? "Left" : "Joined", member);
			});
		};

		function entered(event) {
			const { epoch, offset, latest, messages, gap } = event, knew = room.epoch;
			messages.forEach(came);
			goOn(event, gap || (knew && (room.epoch !== epoch || room.offset !== offset)), latest && [latest]);
			room.member = event.member;
			joined = true;
			failures = 0;
			tell("Entered", room);
			send();
		}

		function rejected(error) {
			asked = null;
			if (/rate_|unavailable|closed/.test(error.code) || (room.epoch && !/bad_|forbidden/.test(error.code))) {
				setTimeout(enter, error.retryAfter * 1e3 + draw(Math.min(3e4, 1e3 * 2 ** ++failures)));
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
	after("wait", connect, 0);
}
