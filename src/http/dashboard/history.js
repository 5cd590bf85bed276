// Reads over time: the picture, and the same as tables.

import { byId, clock, count, fillRows, NOTHING, percent, share } from "./format.js";
import { callForBlob, callForJson } from "./session.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

/** The widths that the service draws. */
const NARROWEST = 320;
const WIDEST = 1600;

/** Whoever drags a window is waited for. */
const SETTLED_MS = 200;

/** For what width the picture was last asked for. */
let drawnWidth = 0;

/** Counts the times that all was asked for: an answer that another has overtaken is not shown. */
let asked = 0;

export async function showHistory() {
  const turn = ++asked;
  const minutes = byId("range").querySelector(":checked").value;
  drawnWidth = byId("chart-room").clientWidth;
  const width = Math.min(Math.max(drawnWidth, NARROWEST), WIDEST);
  const theme = dark.matches ? "dark" : "light";
  const [figures, picture] = await Promise.all([
    callForJson(`/cache/history?minutes=${minutes}`),
    callForBlob(`/cache/history.svg?minutes=${minutes}&width=${width}&theme=${theme}`),
  ]);
  if (turn !== asked) return;
  showPicture(picture, inWords(figures, minutes));
  showKinds(figures.kinds);
  showHours(figures.minutes);
}

export function forgetHistory() {
  asked += 1;
  const image = byId("chart");
  URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  image.hidden = true;
  fillRows("kinds", []);
  fillRows("hours", []);
}

/** Calls back when the picture no longer fits: another width, another theme, another range. */
export function onHistoryOutdated(callBack) {
  byId("range").addEventListener("change", callBack);
  dark.addEventListener("change", callBack);
  let waiting;
  const redraw = () => {
    if (byId("chart-room").clientWidth !== drawnWidth) callBack();
  };
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(redraw, SETTLED_MS);
  }).observe(byId("chart-room"));
}

function showPicture(picture, description) {
  const image = byId("chart");
  const earlier = image.getAttribute("src");
  image.src = URL.createObjectURL(picture);
  image.alt = description;
  image.hidden = false;
  if (earlier) URL.revokeObjectURL(earlier);
}

function inWords(figures, minutes) {
  const span = minutes === "60" ? "hour" : `${minutes / 60} hours`;
  if (figures.reads === 0) return `Hit rate over the last ${span}: nothing was read.`;
  const reads = `${percent(figures.hit_rate)} on average of ${count(figures.reads)} reads`;
  const average = `Hit rate over the last ${span}: ${reads}`;
  if (!figures.peak) return `${average}.`;
  return `${average}, highest ${at(figures.peak)}, lowest ${at(figures.lowest)}.`;
}

function at(minute) {
  return minute ? `${percent(minute.hit_rate)} at ${clock(minute.at)}` : NOTHING;
}

function showKinds(kinds) {
  const read = kinds.filter(({ reads }) => reads > 0).sort((one, other) => other.reads - one.reads);
  const rows = read.map(({ kind, reads, hit_rate, peak, lowest }) => [
    kind,
    count(reads),
    percent(hit_rate),
    at(peak),
    at(lowest),
  ]);
  fillRows("kinds", rows.length > 0 ? rows : [["Nothing was read.", "", "", "", ""]]);
}

function showHours(minutes) {
  const hours = new Map();
  for (const minute of minutes) {
    const hour = minute.at.slice(0, 13);
    hours.set(hour, [...(hours.get(hour) ?? []), minute]);
  }
  const rows = [...hours].reverse().map(([hour, within]) => {
    const sum = (name) => within.reduce((all, minute) => all + minute[name], 0);
    const [reads, loaded] = [sum("reads"), sum("loaded")];
    const counts = ["near", "far", "late", "loaded"].map((name) => count(sum(name)));
    return [`${hour.replace("T", " ")}:00`, count(reads), percent(share(reads - loaded, reads)), ...counts];
  });
  fillRows("hours", rows);
}
