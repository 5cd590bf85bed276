// What is wrong, in a banner, and that it no longer is.

import { byId, duration, now, show } from "./format.js";

/** So long the banner says that all is well again. */
const RELIEF_MS = 10_000;

/** What is wrong, by who has found it out. */
const troubles = new Map();
/** Whether all was well at some time since the page was opened. */
let hasBeenWell = false;
/** Since when something is wrong, if the page has seen it begin. */
let began = null;
/** What was read out last. */
let announced = "";
let relief;

export function forgetTroubles() {
  troubles.clear();
  hasBeenWell = false;
  began = null;
  announced = "";
  clearTimeout(relief);
  byId("banner").hidden = true;
}

/** Says what one of those who look has found wrong, each in words. Answers whether all is well again. */
export function setTroubles(source, found) {
  const wasWell = troubles.size === 0;
  if (found.length > 0) troubles.set(source, found);
  else troubles.delete(source);
  if (troubles.size > 0) {
    if (wasWell) began = hasBeenWell ? { at: Date.now(), clock: now() } : null;
    showTroubles([...troubles.values()].flat());
    return false;
  }
  hasBeenWell = true;
  if (!wasWell) showRelief();
  return !wasWell;
}

function showTroubles(all) {
  clearTimeout(relief);
  const words = [...new Set(all.map((each) => each.words))].join(" ");
  showBanner("trouble", began ? `${words} Since ${began.clock}.` : words);
  // A reason may tell how long it has been: it is read out once.
  const kinds = all.map(({ kind }) => kind).join();
  if (announced !== kinds) show("announcement", words);
  announced = kinds;
}

function showRelief() {
  const after = began ? `, after ${duration((Date.now() - began.at) / 1000)}` : "";
  const words = `All is well again since ${now()}${after}.`;
  began = null;
  announced = "";
  showBanner("well", words);
  show("announcement", words);
  relief = setTimeout(() => {
    byId("banner").hidden = true;
  }, RELIEF_MS);
}

function showBanner(style, text) {
  const banner = byId("banner");
  banner.className = `banner ${style}`;
  banner.hidden = false;
  show("banner", text);
}
