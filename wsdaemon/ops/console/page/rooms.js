// Rooms: one is watched by its history, which needs no more than the token, and is published into.

import { ask, every, part } from "./api.js";
import { $, addEntry, element, timeOf } from "./dom.js";
import { roomMounts } from "./live.js";

const MOST_ENTRIES = 300;

export class Rooms {
  constructor(shown, failed) {
    this.failed = failed;
    this.watched = null;
    $("watch").addEventListener("submit", (event) => {
      event.preventDefault();
      this.watch($("room-mount").value, $("room-name").value);
    });
    $("publish").addEventListener("submit", (event) => {
      event.preventDefault();
      this.publish();
    });
    this.look = every(1, () => shown() && this.watched !== null, () => this.news(), failed);
  }

  async enter() {
    try {
      const mounts = await roomMounts(), chosen = $("room-mount").value;
      $("room-mount").replaceChildren(...mounts.map((mount) => element("option", { value: mount }, mount)));
      if (mounts.includes(chosen)) $("room-mount").value = chosen;
      const mount = $("room-mount").value;
      const { rooms } = mount ? await ask("GET", "/api/rooms", { mount, limit: 100 }) : { rooms: [] };
      $("room-names").replaceChildren(...rooms.map((room) => element("option", { value: room.room })));
    } catch (error) {
      this.failed(error);
    }
  }

  watch(mount, room) {
    this.watched = { mount, room, path: `/api/rooms/${part(room)}`, position: "" };
    $("room-messages").replaceChildren();
    $("publish").querySelector("button").disabled = false;
    this.look();
  }

  async news() {
    const watched = this.watched, { mount, path, position } = watched;
    const first = !position;
    const page = await ask("GET", `${path}/messages`, first ? { mount, limit: 50, reverse: true } : { mount, since: position, limit: 200 });
    if (watched !== this.watched) return;
    if (page.gap && !first) addEntry($("room-messages"), element("li", {}, "Some messages are not held any more, or the room began anew."), MOST_ENTRIES);
    const messages = first ? page.messages.reverse() : page.messages;
    for (const message of messages) addEntry($("room-messages"), entry(message), MOST_ENTRIES);
    const last = messages.length && page.more && !first ? messages[messages.length - 1].offset : page.offset;
    if (page.epoch) watched.position = `${page.epoch}:${last}`;
    $("room-position").textContent = `at ${page.offset}`;
    const present = await ask("GET", `${path}/members`, { mount, limit: 200 });
    if (watched !== this.watched) return;
    $("room-count").textContent = String(present.count);
    $("room-members").replaceChildren(...present.members.map((member) => element("li", {}, `${member.identity?.name ?? "no name"}  ${member.id}`)));
  }

  async publish() {
    try {
      const done = await ask("POST", `${this.watched.path}/messages`, { mount: this.watched.mount }, $("publish-text").value);
      $("published").textContent = `Published at ${done.offset}, to ${done.members} members.`;
      $("publish-text").value = "";
      this.look();
    } catch (error) {
      $("published").textContent = error.message;
    }
  }
}

function entry(message) {
  const when = timeOf(new Date(message.time * 1000));
  const head = `${message.offset}  ${when}  ${message.publisher ?? "from outside"}${message.encoding ? "  binary, base64" : ""}`;
  return element("li", {}, element("span", { class: "head" }, head), message.data.slice(0, 4000));
}
