// The live figures: a WebSocket of the daemon itself, charts, and tables that are asked for beside it.

import { ask, every, here, token } from "./api.js";
import { Chart } from "./charts.js";
import { $, amount, bytes, fill, milliseconds, since, timeOf } from "./dom.js";
import { WebSocketClient } from "./wsdaemon.js";

const DELAYS = "500ms-15s";

/** A quantile of the observations between two histograms of [upper bound, count up to it]; null if there are none. */
export function quantile(before, now, share) {
  const counts = now.map(([bound, count], index) => [bound, count - (before?.[index]?.[1] ?? 0)]);
  const all = counts.length ? counts[counts.length - 1][1] : 0;
  if (all <= 0) return null;
  let last = [0, 0];
  for (const [bound, count] of counts) {
    if (count >= all * share) {
      if (bound === null) return last[0];
      return last[0] + (bound - last[0]) * ((all * share - last[1]) / (count - last[1] || 1));
    }
    last = [bound, count];
  }
  return last[0];
}

export class Live {
  /** `shown()`: whether the tab is in view. `ended(code)`: the daemon refuses the token. */
  constructor(shown, ended, failed) {
    this.ended = ended;
    this.last = null;
    this.window = [];
    this.charts = {
      connections: new Chart("Connections", ["open"], amount),
      messages: new Chart("Messages a second", ["in", "out"], amount),
      bytes: new Chart("Bytes a second", ["in", "out"], bytes),
      trips: new Chart("Round trip of pings", ["median", "99 %"], milliseconds),
      loop: new Chart("Loop latency", ["median", "99 %"], milliseconds),
      refusals: new Chart("Refusals a second", ["all reasons"], amount),
    };
    $("charts").replaceChildren(...Object.values(this.charts).map((chart) => chart.card));
    this.lookAtTables = every(3, () => shown() && this.client !== undefined, () => this.tables(), failed);
  }

  start() {
    this.stop();
    this.client = new WebSocketClient(here("/console/live"), {
      reconnect: DELAYS,
      onOpen: (client) => client.send(JSON.stringify({ token: token.get() })),
      onMessage: (client, message) => this.add(JSON.parse(message)),
      onClose: (client, code, reason) => {
        if (client !== this.client) return;
        this.away();
        if (code === 4401 || code === 4403) this.ended(reason);
      },
      onError: (client) => client === this.client && this.away(),
    });
    this.lookAtTables();
  }

  stop() {
    const client = this.client;
    this.client = undefined;
    client?.close();
  }

  away() {
    $("state").textContent = "away";
    this.last = null;
  }

  add(figures) {
    if (figures.away) {
      $("state").textContent = "the workers cannot be asked";
      return;
    }
    $("state").textContent = figures.state ?? "connected";
    const before = this.last;
    this.last = figures;
    this.window.push(figures);
    if (this.window.length > 60) this.window.shift();
    this.charts.connections.add([figures.connections]);
    if (before !== null) this.rates(before, figures);
    this.showMounts(figures);
    const reasons = Object.entries(figures.refused).sort((one, other) => other[1] - one[1]);
    fill($("refusals"), [["Reason", (row) => row[0]], ["Clients", (row) => amount(row[1]), true]], reasons, "No client was refused.");
    $("workers-card").hidden = !figures.workers;
    const columns = [["Worker", (one) => one.number], ["Process", (one) => one.pid, true], ["State", (one) => one.state], ["Connections", (one) => amount(one.connections), true]];
    if (figures.workers) fill($("workers"), columns, figures.workers, "");
  }

  rates(before, now) {
    const seconds = Math.max(now.time - before.time, 0.001);
    const rate = (name) => Math.max(0, (now[name] - before[name]) / seconds);
    const sum = (counts) => Object.values(counts).reduce((one, other) => one + other, 0);
    this.charts.messages.add([rate("messages_in"), rate("messages_out")]);
    this.charts.bytes.add([rate("bytes_in"), rate("bytes_out")]);
    this.charts.refusals.add([Math.max(0, (sum(now.refused) - sum(before.refused)) / seconds)]);
    const oldest = this.window[0];  // a minute, because pings are rare
    this.charts.trips.add([0.5, 0.99].map((share) => quantile(oldest.round_trip, now.round_trip, share)));
    this.charts.loop.add([0.5, 0.99].map((share) => quantile(oldest.loop_latency, now.loop_latency, share)));
  }

  showMounts(figures) {
    const columns = [["Mount", (row) => row[0]], ["Open", (row) => amount(row[1].connections), true], ["Messages in", (row) => amount(row[1].messages_in), true], ["out", (row) => amount(row[1].messages_out), true]];
    fill($("mounts"), columns, Object.entries(figures.mounts), "No mount.");
  }

  async tables() {
    const { closes } = await ask("GET", "/api/closes", { limit: 50 });
    const when = (one) => timeOf(new Date(one.closed_at * 1000));
    fill($("closes"), [
      ["Time", when], ["Code", (one) => one.code, true], ["By", (one) => one.closed_by], ["Reason", (one) => one.reason],
      ["Path", (one) => one.path ?? one.mount], ["Client", (one) => one.user ?? one.peer], ["Open for", (one) => since(one.seconds), true],
      ["Messages in", (one) => amount(one.messages_in), true], ["out", (one) => amount(one.messages_out), true],
    ], closes, "No connection has ended yet.");
    const found = [];
    for (const mount of await roomMounts()) {
      const page = await ask("GET", "/api/rooms", { mount, limit: 1000 });
      found.push(...page.rooms.map((room) => ({ ...room, mount })));
    }
    found.sort((one, other) => (other.members ?? 0) - (one.members ?? 0));
    fill($("room-list"), [["Room", (one) => one.room], ["Mount", (one) => one.mount], ["Members", (one) => amount(one.members ?? 0), true]], found.slice(0, 20), "No room.");
  }
}

export async function status() {
  return ask("GET", "/status");
}

/** The paths of the mounts with rooms. With workers their status has the number of members, and none of rooms. */
export async function roomMounts() {
  return (await status()).mounts.filter((mount) => "members" in mount).map((mount) => mount.path);
}
