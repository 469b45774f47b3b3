// The frames of one connection as they pass, in its inspector.

import { here, token } from "./api.js";
import { $, addEntry, bytes, clock, element } from "./dom.js";
import { WebSocketClient } from "./wsdaemon.js";

const MOST_ENTRIES = 500, MOST_HEX = 64;

export class Tap {
  constructor() {
    $("tap").addEventListener("click", () => (this.client ? this.stop("The frames are not shown any more.") : this.start()));
    $("inspect").addEventListener("close", () => this.stop(""));
  }

  /** Another connection is inspected. */
  choose(id) {
    this.stop("");
    this.id = id;
    $("tap-frames").replaceChildren();
    $("tap-frames").hidden = true;
  }

  start() {
    const wanted = { token: token.get(), tap: { connection: this.id, payload: $("tap-payload").checked } };
    $("tap").textContent = "Stop";
    $("tap-state").textContent = "The daemon is asked for its frames.";
    this.client = new WebSocketClient(here("/console/live"), {
      reconnect: "off",
      onOpen: (client) => client.send(JSON.stringify(wanted)),
      onMessage: (client, message) => client === this.client && this.show(JSON.parse(message)),
      onClose: (client, code, reason) => client === this.client && this.stop(reason || (code === 1000 ? undefined : `The daemon has closed with ${code}.`)),
      onError: (client) => client === this.client && this.stop("The daemon does not answer."),
    });
  }

  /** `words` undefined: those that are there stay. */
  stop(words) {
    const client = this.client;
    this.client = undefined;
    client?.close();
    $("tap").textContent = "Show frames";
    if (words !== undefined) $("tap-state").textContent = words;
  }

  show(found) {
    if (found.tap) $("tap-state").textContent = "Frames are shown as they pass.";
    if (found.frames) $("tap-frames").hidden = false;
    for (const frame of found.frames ?? []) addEntry($("tap-frames"), entry(frame), MOST_ENTRIES);
    if (found.dropped) addEntry($("tap-frames"), element("li", {}, `${found.dropped} frames came too fast to be shown.`), MOST_ENTRIES);
    if (found.over) $("tap-state").textContent = `${found.over}.`;
  }
}

function entry(frame) {
  const words = [clock(new Date(frame.time * 1000)), frame.direction, frame.type, bytes(frame.size)];
  if (!frame.final) words.push("to be continued");
  if (frame.compressed) words.push(frame.inflated || !frame.payload ? "compressed" : "compressed, not inflated");
  if (frame.code !== undefined) words.push(`code ${frame.code}`);
  const made = element("li", { class: frame.direction === "in" ? "received" : "sent" }, element("span", { class: "head" }, words.join("  ")));
  if (frame.payload) made.append(frame.encoding ? hex(frame.payload) : frame.payload, frame.cut ? " ..." : "");
  return made;
}

function hex(text) {
  const data = Array.from(atob(text), (byte) => byte.charCodeAt().toString(16).padStart(2, "0"));
  return data.slice(0, MOST_HEX).join(" ") + (data.length > MOST_HEX ? " ..." : "");
}
