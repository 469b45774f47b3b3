// Elements and texts. All text of clients goes through textContent: nothing here takes HTML.

export const $ = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(String(child ?? "")))));
  return made;
}

/** Fill a table. Columns are [title, function of a row, whether it is a number]; a function gives text or an element. */
export function fill(table, columns, rows, empty) {
  const head = element("tr", {}, ...columns.map(([title, , number]) => element("th", { scope: "col", class: number ? "number" : "" }, title)));
  const body = rows.map((row) => element("tr", {}, ...columns.map(([, show, number]) => element("td", { class: number ? "number" : "" }, show(row)))));
  if (!rows.length) body.push(element("tr", {}, element("td", { colspan: columns.length }, empty)));
  table.replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
}

/** Add an entry to a list that keeps to its end, and to `most` entries. */
export function addEntry(list, entry, most) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  list.append(entry);
  while (list.childElementCount > most) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit += 1; }
  return `${unit ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function amount(count) {
  return count >= 1e6 ? `${(count / 1e6).toFixed(1)} M` : count >= 1e4 ? `${(count / 1e3).toFixed(1)} k` : String(Math.round(count * 10) / 10);
}

export function milliseconds(seconds) {
  return seconds >= 1 ? `${seconds.toFixed(1)} s` : `${(seconds * 1000).toFixed(1)} ms`;
}

export const timeOf = (date) => date.toLocaleTimeString([], { hour12: false });

export function clock(date = new Date()) {
  return timeOf(date) + "." + String(date.getMilliseconds()).padStart(3, "0");
}

export function since(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${(seconds / 3600).toFixed(1)} h` : `${(seconds / 86400).toFixed(1)} d`;
}

export function tell(problem) {
  $("problem").textContent = problem ?? "";
  $("problem").hidden = !problem;
}
