// Connections: searched in pages, inspected, closed.

import { ask, part } from "./api.js";
import { $, amount, bytes, element, fill, since } from "./dom.js";
import { Tap } from "./tap.js";

export class Connections {
  constructor(failed) {
    this.failed = failed;
    this.after = "";
    this.tap = new Tap();
    $("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.after = "";
      this.look();
    });
    $("search-more").addEventListener("click", () => this.look());
    $("inspect-done").addEventListener("click", () => $("inspect").close());
    $("close-connection").addEventListener("submit", (event) => {
      event.preventDefault();
      this.close();
    });
  }

  async look() {
    const by = $("search-by").value;
    try {
      const page = await ask("GET", "/api/connections", { limit: 100, after: this.after, ...(by ? { [by]: $("search-for").value } : {}) });
      this.after = page.after ?? "";
      $("search-more").hidden = !page.after;
      $("found").textContent = `${page.count} open connections match; ${page.connections.length} are shown.`;
      this.show(page.connections);
    } catch (error) {
      this.failed(error);
    }
  }

  show(connections) {
    const now = Date.now() / 1000;
    fill($("connection-list"), [
      ["Id", (one) => element("button", { type: "button", onclick: () => this.inspect(one) }, one.id)],
      ["Path", (one) => one.path], ["User", (one) => one.user ?? ""], ["Address", (one) => one.address],
      ["Open for", (one) => since(Math.max(0, now - one.opened_at)), true], ["Messages in", (one) => amount(one.messages_in), true],
      ["out", (one) => amount(one.messages_out), true], ["Waits", (one) => bytes(one.backlog), true],
    ], connections, "No open connection matches.");
  }

  inspect(one) {
    this.inspected = one.id;
    this.tap.choose(one.id);
    const shown = { ...one, opened_at: new Date(one.opened_at * 1000).toLocaleString(), bytes_in: bytes(one.bytes_in), bytes_out: bytes(one.bytes_out), backlog: bytes(one.backlog) };
    $("inspect-title").textContent = `Connection ${one.id}`;
    $("inspect-facts").replaceChildren(...Object.entries(shown).flatMap(([name, value]) => [element("dt", {}, name.replaceAll("_", " ")), element("dd", {}, value ?? "none")]));
    $("close-result").textContent = "";
    $("inspect").showModal();
  }

  async close() {
    try {
      await ask("DELETE", `/api/connections/${part(this.inspected)}`, { code: $("close-code").value, reason: $("close-reason").value });
      $("inspect").close();
      this.after = "";
      await this.look();
    } catch (error) {
      $("close-result").textContent = error.message;
    }
  }
}
