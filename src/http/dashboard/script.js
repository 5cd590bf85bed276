// The page as a whole: who is logged in, what is asked when, and what is wrong.

import { forgetTroubles, setTroubles } from "./banner.js";
import { forgetFigures, showFigures, troublesOf } from "./figures.js";
import { byId, duration, show } from "./format.js";
import { forgetHistory, onHistoryOutdated, showHistory } from "./history.js";
import { callForJson, isLoggedIn, logIn, logOut, Refused, Unanswered } from "./session.js";
import { forgetTools, wireTools } from "./tools.js";

const FIGURES_EVERY_MS = 2_000;
const HISTORY_EVERY_MS = 60_000;

/** What will be done again, by what it is. */
const timers = new Map();

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
    showFigures(await callForJson("/dashboard/figures"));
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
  forgetHistory();
  forgetTools();
  forgetTroubles();
  byId("board").hidden = true;
  byId("log-out").hidden = true;
  byId("login").hidden = false;
  show("about", "");
  show("login-refusal", why);
  byId("email").focus();
}

function expire() {
  leave("Your login is no longer good. Log in again.");
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
  await attempt("figures", async () => {
    const figures = await callForJson("/dashboard/figures");
    if (!isLoggedIn()) return;
    showFigures(figures);
    if (setTroubles("figures", troublesOf(figures))) refreshHistory();
  });
  repeat(refreshFigures, FIGURES_EVERY_MS);
}

async function refreshHistory() {
  if (!isLoggedIn() || document.hidden) return;
  await attempt("history", async () => {
    await showHistory();
    if (isLoggedIn()) setTroubles("history", []);
  });
  repeat(refreshHistory, HISTORY_EVERY_MS);
}

/** Does it again after a while, once, unless the page has been left or is hidden. */
function repeat(action, afterMs) {
  clearTimeout(timers.get(action));
  if (isLoggedIn() && !document.hidden) timers.set(action, setTimeout(action, afterMs));
}

/** Does it, and shows what came in between. */
async function attempt(source, action) {
  try {
    await action();
  } catch (error) {
    // Whoever has logged out meanwhile is told nothing.
    if (!isLoggedIn()) return;
    if (error instanceof Refused && error.status === 401) expire();
    else if (error instanceof Refused && error.status === 403) leave("This account is no admin’s any more.");
    else setTroubles(source, [troubleOf(error)]);
  }
}

/** What is wrong where a call went wrong. */
function troubleOf(error) {
  const old = "The figures are the last that it told.";
  if (error instanceof Unanswered) return { kind: "unanswered", words: `The service does not answer. ${old}` };
  if (error instanceof Refused) {
    return { kind: "refused", words: `The service cannot answer: ${error.message}. ${old}` };
  }
  console.error(error);
  return { kind: "failed", words: "This page has made a mistake. Load it anew." };
}

start();
