// The page as a whole: who is logged in, what is asked when, and what is wrong.

import { forgetFigures, showFigures, troublesOf } from "./figures.js";
import { byId, duration, now, show } from "./format.js";
import { onHistoryOutdated, showHistory } from "./history.js";
import { call, isLoggedIn, logIn, logOut, Refused, Unanswered } from "./session.js";
import { forgetTools, wireTools } from "./tools.js";

const FIGURES_EVERY_MS = 2_000;
const HISTORY_EVERY_MS = 60_000;
/** So long the banner says that all is well again. */
const RELIEF_MS = 10_000;

/** What will be done again, by what it is. */
const timers = new Map();
/** What is wrong, and since when. */
let trouble = null;

function start() {
  byId("login-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attemptLogin();
  });
  byId("log-out").addEventListener("click", () => leave(""));
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : goOn()));
  onHistoryOutdated(refreshHistory);
  wireTools(expire);
  if (isLoggedIn()) enter();
  else leave("");
}

async function attemptLogin() {
  const form = byId("login-form");
  const button = form.querySelector("button");
  show("login-refusal", "");
  button.disabled = true;
  try {
    await logIn(form.elements.username.value, form.elements.password.value);
    // Whether they are an admin is for the service to say.
    showFigures(await (await call("/dashboard/figures")).json());
    form.reset();
    enter();
    byId("now-title").focus();
  } catch (error) {
    logOut();
    forgetFigures();
    show("login-refusal", refusalOf(error));
    byId("password").select();
  } finally {
    button.disabled = false;
  }
}

function refusalOf(error) {
  if (error instanceof Unanswered) return "The service does not answer.";
  if (!(error instanceof Refused)) throw error;
  switch (error.status) {
    case 401:
      return "E-mail address or password is wrong.";
    case 403:
      return "This account is no admin’s, and the figures are for admins only.";
    case 429:
      return `Too many failed attempts. Try again in ${duration(error.waitSeconds ?? 60)}.`;
    default:
      return `The service refused: ${error.message}`;
  }
}

function enter() {
  byId("login").hidden = true;
  byId("board").hidden = false;
  byId("log-out").hidden = false;
  goOn();
}

/** Back to the login, which says why. */
function leave(why) {
  logOut();
  pause();
  forgetFigures();
  forgetTools();
  trouble = null;
  byId("banner").hidden = true;
  byId("board").hidden = true;
  byId("log-out").hidden = true;
  byId("login").hidden = false;
  show("about", "");
  show("login-refusal", why);
  byId("email").focus();
}

function expire() {
  leave("Your login has expired. Log in again.");
}

function pause() {
  for (const timer of timers.values()) clearTimeout(timer);
}

function goOn() {
  if (!isLoggedIn() || document.hidden) return;
  refreshFigures();
  refreshHistory();
}

async function refreshFigures() {
  await attempt(async () => {
    const figures = await (await call("/dashboard/figures")).json();
    if (!isLoggedIn()) return;
    showFigures(figures);
    setTroubles(troublesOf(figures));
  });
  repeat(refreshFigures, FIGURES_EVERY_MS);
}

async function refreshHistory() {
  if (!isLoggedIn() || document.hidden) return;
  await attempt(showHistory);
  repeat(refreshHistory, HISTORY_EVERY_MS);
}

/** Does it again after a while, once, unless the page has been left or is hidden. */
function repeat(action, afterMs) {
  clearTimeout(timers.get(action));
  if (isLoggedIn() && !document.hidden) timers.set(action, setTimeout(action, afterMs));
}

/** Does it, and shows what came in between. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    // Whoever has logged out meanwhile is told nothing.
    if (!isLoggedIn()) return;
    if (error instanceof Refused && error.status === 401) expire();
    else if (error instanceof Refused && error.status === 403) leave("This account is no admin’s any more.");
    else if (error instanceof Refused) setTroubles([silence("refused", `cannot answer: ${error.message}`)]);
    else if (error instanceof Unanswered) setTroubles([silence("unanswered", "does not answer")]);
    else throw error;
  }
}

function silence(kind, what) {
  return { kind, words: `The service ${what}. The figures are the last that it told.` };
}

/** Says what is wrong, or that it no longer is. */
function setTroubles(all) {
  if (all.length === 0) {
    if (trouble !== null) showRelief();
    return;
  }
  const kinds = all.map(({ kind }) => kind).join();
  const words = all.map((each) => each.words).join(" ");
  trouble ??= { since: Date.now(), clock: now() };
  showBanner("trouble", `${words} Since ${trouble.clock}.`);
  // A reason may tell how long it has been: it is read out once.
  if (trouble.kinds !== kinds) show("announcement", words);
  trouble.kinds = kinds;
}

function showRelief() {
  const took = duration((Date.now() - trouble.since) / 1000);
  const words = `All is well again since ${now()}, after ${took}.`;
  trouble = null;
  refreshHistory();
  showBanner("well", words);
  show("announcement", words);
  setTimeout(() => {
    if (trouble === null) byId("banner").hidden = true;
  }, RELIEF_MS);
}

function showBanner(style, text) {
  const banner = byId("banner");
  banner.className = `banner ${style}`;
  banner.hidden = false;
  show("banner", text);
}

start();
