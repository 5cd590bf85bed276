// How figures are written, and put on the page.

const whole = new Intl.NumberFormat("en");
const rough = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** Stands for what cannot be told. */
export const NOTHING = "–";

export function count(number) {
  return whole.format(number);
}

export function percent(rate) {
  if (rate === null) return NOTHING;
  // Rounded down: 100 are all.
  return `${rate === 100 || rate === 0 ? rate : (Math.floor(rate * 100) / 100).toFixed(2)} %`;
}

/** What a part is of the whole, in percent; null of nothing. */
export function share(part, whole) {
  return whole > 0 ? (part / whole) * 100 : null;
}

export function perSecond(rate) {
  return rate === null ? NOTHING : rate < 100 ? rough.format(rate) : count(Math.round(rate));
}

export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${rough.format(number)} ${units[unit]}`;
}

/** A time that passes, from microseconds to days. */
export function duration(seconds) {
  if (seconds === 0) return "0 s";
  if (seconds < 0.0009995) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 0.99995) return `${rough.format(seconds * 1000)} ms`;
  if (seconds < 9.95) return `${rough.format(seconds)} s`;
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/** The time of day of an RFC 3339 time, to the minute. */
export function clock(time) {
  return time.slice(11, 16);
}

/** The present time of day. */
export function now() {
  return `${new Date().toISOString().slice(11, 19)} UTC`;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Writes a text where another stands, and leaves the page alone where nothing changed. */
export function show(id, text, style = "") {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
  for (const known of ["good", "warn", "bad"]) element.classList.toggle(known, style === known);
}

/** Fills a table's body: the first text of each row names it. */
export function fillRows(id, rows) {
  const made = rows.map((texts) => {
    const row = document.createElement("tr");
    row.append(...texts.map((text, place) => cell(text, place === 0)));
    return row;
  });
  byId(id).replaceChildren(...made);
}

function cell(text, isName) {
  const made = document.createElement(isName ? "th" : "td");
  if (isName) made.scope = "row";
  made.textContent = text;
  return made;
}
