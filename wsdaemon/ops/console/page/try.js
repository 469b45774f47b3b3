// The test tool: one WebSocket to any URL, and every message with its time, size and direction.

import { $, addEntry, bytes, clock, element } from "./dom.js";

const MOST_ENTRIES = 500, MOST_SHOWN = 4000, MOST_HEX = 256;
const STATES = { 1006: "The connection was lost, or never opened." };
const encoder = new TextEncoder();

export class Try {
  constructor() {
    this.socket = null;
    this.timed = new Map();
    this.number = 0;
    $("connect").addEventListener("submit", (event) => { event.preventDefault(); this.open(); });
    $("send").addEventListener("submit", (event) => { event.preventDefault(); this.send(); });
    $("try-close").addEventListener("submit", (event) => { event.preventDefault(); this.close(); });
    $("message").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.send();
    });
    $("time-echo").addEventListener("click", () => this.timeEcho());
    $("send-file").addEventListener("click", () => this.sendFile());
    $("clear").addEventListener("click", () => $("frames").replaceChildren());
    for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => this.copy(button.dataset.copy));
    this.enable(false);
  }

  /** URLs to choose from; the first one is filled in. */
  offer(urls) {
    $("urls").replaceChildren(...urls.map((url) => element("option", { value: url })));
    if (!$("url").value && urls.length) $("url").value = urls[0];
  }

  get subprotocols() {
    return $("subprotocols").value.split(",").map((name) => name.trim()).filter(Boolean);
  }

  open() {
    this.socket?.close(1000);
    let socket;
    try {
      socket = new WebSocket($("url").value, this.subprotocols);
    } catch (error) {
      this.tell(error.message);
      return;
    }
    this.socket = socket;
    const began = performance.now();
    let opened = false;
    socket.binaryType = "arraybuffer";
    this.tell("Connecting.");
    socket.onopen = () => {
      opened = true;
      const words = [`Connected in ${(performance.now() - began).toFixed(1)} ms`];
      if (socket.protocol) words.push(`subprotocol ${socket.protocol}`);
      words.push(socket.extensions ? socket.extensions : "not compressed");
      this.tell(words.join(", ") + ".");
      this.enable(true);
    };
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = (event) => {
      if (this.socket !== socket) return;
      this.socket = null;
      this.timed.clear();
      this.enable(false);
      const how = event.code === 1006 && !opened ? this.refused() : (STATES[event.code] ?? `Closed with ${event.code}${event.reason ? ` "${event.reason}"` : ""}.`);
      this.tell(how);
      this.note(how);
    };
  }

  refused() {
    return `No connection: nothing answers there, or the server refuses. A mount takes pages of other sites only if its origins name them; this page is ${location.origin}.`;
  }

  tell(text) {
    $("try-state").textContent = text;
  }

  enable(open) {
    for (const button of [$("send").querySelector(".main"), $("time-echo"), $("send-file"), $("try-close").querySelector("button")]) button.disabled = !open;
  }

  send() {
    const text = $("message").value;
    if (this.socket === null) return;
    if ($("kind").value === "text") this.sendNow(text);
    else {
      const digits = text.replace(/\s|0x|,/g, "");
      if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) this.tell("Expected pairs of hex digits.");
      else this.sendNow(Uint8Array.from(digits.match(/../g) ?? [], (pair) => parseInt(pair, 16)).buffer);
    }
  }

  async sendFile() {
    const [file] = $("file").files;
    if (!file) this.tell("Choose a file first.");
    else this.sendNow(await file.arrayBuffer());
  }

  sendNow(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    this.socket.send(message);
    this.log("sent", message);
  }

  timeEcho() {
    this.number += 1;
    const text = `time ${this.number}`;
    this.timed.set(text, performance.now());
    this.sendNow(text);
  }

  received(message) {
    const began = this.timed.get(message);
    this.timed.delete(message);
    this.log("received", message, began === undefined ? "" : `after ${(performance.now() - began).toFixed(2)} ms`);
  }

  close() {
    const code = Number($("try-code").value);
    try {
      this.socket?.close(code, $("try-reason").value);
    } catch (error) {
      this.tell(error.message);
    }
  }

  log(direction, message, more = "") {
    const isText = typeof message === "string", size = isText ? encoder.encode(message).length : message.byteLength;
    const shown = isText ? message.slice(0, MOST_SHOWN) : hex(new Uint8Array(message, 0, Math.min(size, MOST_HEX)));
    const cut = isText ? message.length > MOST_SHOWN : size > MOST_HEX;
    const head = [clock(), direction, isText ? "text" : "binary", bytes(size), more].filter(Boolean).join("  ");
    addEntry($("frames"), element("li", { class: direction }, element("span", { class: "head" }, head), shown + (cut ? " ..." : "")), MOST_ENTRIES);
  }

  note(text) {
    addEntry($("frames"), element("li", {}, element("span", { class: "head" }, clock()), text), MOST_ENTRIES);
  }

  async copy(kind) {
    const text = command(kind, $("url").value, this.subprotocols);
    $("copied").hidden = false;
    $("copied").value = text;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      $("copied").select();  // a page without https may not write there
    }
  }
}

function hex(some) {
  return Array.from(some, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** A command for the same connection. */
export function command(kind, url, subprotocols) {
  if (kind === "wscat") return `wscat -c ${quoted(url)}${subprotocols.map((name) => ` -s ${quoted(name)}`).join("")}`;
  if (kind === "javascript") {
    const given = subprotocols.length ? `, ${JSON.stringify(subprotocols)}` : "";
    return `const socket = new WebSocket(${JSON.stringify(url)}${given});\nsocket.onmessage = (event) => console.log(event.data);`;
  }
  const header = subprotocols.length ? ` -H ${quoted(`Sec-WebSocket-Protocol: ${subprotocols.join(", ")}`)}` : "";
  return `curl --no-buffer -i -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='${header} ${quoted(url.replace(/^ws/, "http"))}`;
}
