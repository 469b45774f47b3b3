// The console: its tabs, its token and its theme.

import { here, token } from "./api.js";
import { Connections } from "./connections.js";
import { $, tell } from "./dom.js";
import { Live, status } from "./live.js";
import { Rooms } from "./rooms.js";
import { Try } from "./try.js";

const whole = document.documentElement.dataset.only !== "try";
const tabs = [...document.querySelectorAll("[role=tab]")].filter((tab) => whole || !("whole" in tab.dataset));
const shown = (id) => !$(id).hidden;
const parts = {};

function select(tab, focus = false) {
  for (const each of tabs) {
    const on = each === tab;
    each.setAttribute("aria-selected", String(on));
    each.tabIndex = on ? 0 : -1;
    $(each.getAttribute("aria-controls")).hidden = !on;
  }
  if (focus) tab.focus();
  const id = tab.getAttribute("aria-controls");
  tell();
  if (id === "connections") parts.connections.look();
  if (id === "rooms") parts.rooms.enter();
  if (id === "live") parts.live.lookAtTables();
}

function failed(error) {
  if (error.status === 401) signOut(error.message);
  else tell(error.message);
}

function signOut(problem) {
  token.forget();
  parts.live.stop();
  $("state").textContent = "";
  for (const tab of tabs) $(tab.getAttribute("aria-controls")).hidden = true;
  $("tabs").hidden = $("forget").hidden = true;
  $("login").hidden = false;
  tell(problem);
  $("token").focus();
}

async function enter() {
  const found = await status();
  $("login").hidden = true;
  $("tabs").hidden = false;
  $("forget").hidden = !token.get();
  parts.try.offer(urls(found));
  parts.live.start();
  select(tabs[0]);
}

/** The URLs of all mounts by the listeners with a port, as they are reached from here. */
function urls(found) {
  const made = [];
  for (const listener of found.listeners) {
    if (listener.port === null) continue;
    for (const mount of found.mounts) made.push(`${listener.tls ? "wss" : "ws"}://${location.hostname}:${listener.port}${mount.path}`);
  }
  return made;
}

async function begin() {
  if (!token.get()) {  // every address that a browser reaches needs one
    signOut();
    return;
  }
  try {
    await enter();
  } catch (error) {
    if (error.status === 401 || error.status === 403) signOut(token.get() ? error.message : undefined);
    else {
      tell(`${error.message} It is tried again.`);
      setTimeout(begin, 2000);
    }
  }
}

$("tabs").addEventListener("click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (tab) select(tab);
});
$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key], at = tabs.indexOf(document.activeElement);
  if (event.key === "Home") select(tabs[0], true);
  else if (event.key === "End") select(tabs[tabs.length - 1], true);
  else if (step && at >= 0) select(tabs[(at + step + tabs.length) % tabs.length], true);
  else return;
  event.preventDefault();
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set($("token").value.trim());
  $("token").value = "";
  tell();
  begin();
});
$("forget").addEventListener("click", () => signOut());

const theme = sessionStorage.getItem("wsdaemon-theme");
if (theme) document.documentElement.dataset.theme = theme;
$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  sessionStorage.setItem("wsdaemon-theme", document.documentElement.dataset.theme);
  for (const chart of Object.values(parts.live?.charts ?? {})) chart.draw();
});

parts.try = new Try();
if (whole) {
  parts.live = new Live(() => shown("live"), (reason) => signOut(reason), failed);
  parts.connections = new Connections(failed);
  parts.rooms = new Rooms(() => shown("rooms"), failed);
  $("tabs").hidden = true;
  begin();
} else {
  for (const hidden of document.querySelectorAll("[data-whole]")) hidden.hidden = true;
  parts.try.offer([here("/echo")]);
  select(tabs[0]);
}
