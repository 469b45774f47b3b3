// The admin pages as functions. The token stays in this tab: it is in no URL and in no cookie.

const KEY = "wsdaemon-token";

export class Problem extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

export async function ask(method, path, query = {}, body) {
  const fields = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== ""));
  const headers = token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
  if (body !== undefined) headers["Content-Type"] = "text/plain; charset=utf-8";
  let response;
  try {
    response = await fetch(path + (fields.size ? `?${fields}` : ""), { method, headers, body, cache: "no-store" });
  } catch {
    throw new Problem(0, "away", "The daemon does not answer.");
  }
  let content = {};
  try {
    content = await response.json();
  } catch {
    if (response.ok) throw new Problem(response.status, "answer", "The answer is not JSON.");
  }
  if (!response.ok) throw new Problem(response.status, content.code ?? "", content.detail ?? response.statusText);
  return content;
}

/** The URL of a WebSocket of the server that this page came from. */
export const here = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;

export const part = (name) => encodeURIComponent(name);

/** Call `look` now and then every `seconds` while `wanted()`; one call at a time. Problems go to `failed`. */
export function every(seconds, wanted, look, failed) {
  let busy = false;
  async function go() {
    if (busy || !wanted() || document.hidden) return;
    busy = true;
    try {
      await look();
    } catch (error) {
      failed(error);
    } finally {
      busy = false;
    }
  }
  setInterval(go, seconds * 1000);
  return go;
}
