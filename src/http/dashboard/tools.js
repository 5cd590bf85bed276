// What an admin can do here: clear by pattern, and look a key up.

import { byId, bytes, duration, fillRows, show } from "./format.js";
import { callForJson, isLoggedIn, Refused, Unanswered } from "./session.js";

/** The pattern that was asked about. */
let asked = "";

/** `onExpired` is called where the login is not good any more. */
export function wireTools(onExpired) {
  byId("clear-form").addEventListener("submit", (event) => {
    event.preventDefault();
    askFirst(byId("pattern").value);
  });
  const dialog = byId("clear-dialog");
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "clear") clear(onExpired);
  });
  byId("entry-form").addEventListener("submit", (event) => {
    event.preventDefault();
    lookUp(onExpired);
  });
}

export function forgetTools() {
  byId("clear-dialog").close("cancel");
  show("clear-result", "");
  show("entry-result", "");
  byId("copies-room").hidden = true;
  byId("clear-form").reset();
  byId("entry-form").reset();
}

function askFirst(pattern) {
  asked = pattern;
  const dialog = byId("clear-dialog");
  show("clear-result", "");
  show("clear-pattern", pattern);
  dialog.returnValue = "cancel";
  dialog.showModal();
}

/** Asks, and shows the answer under this id, or why there is none. */
async function ask(id, onExpired, path, method, showAnswer) {
  show(id, "…");
  try {
    const answer = await callForJson(path, method);
    // Whoever has logged out meanwhile is told nothing.
    if (isLoggedIn()) showAnswer(answer);
  } catch (error) {
    if (!isLoggedIn()) return;
    if (error instanceof Refused && error.status === 401) onExpired();
    else if (error instanceof Refused) show(id, `Refused: ${error.message}`, "bad");
    else if (error instanceof Unanswered) show(id, "The service does not answer.", "bad");
    else throw error;
  }
}

function clear(onExpired) {
  const path = `/cache/clear?${new URLSearchParams({ pattern: asked })}`;
  ask("clear-result", onExpired, path, "DELETE", ({ message }) => show("clear-result", `${message}.`));
}

function lookUp(onExpired) {
  const key = byId("key").value;
  byId("copies-room").hidden = true;
  ask("entry-result", onExpired, `/cache/entry?${new URLSearchParams({ key })}`, "GET", showEntry);
}

function showEntry({ key, kind, copies }) {
  if (copies.length === 0) return show("entry-result", `${key} is not cached.`);
  const absent = copies.some((copy) => copy.is_absent) ? " The cache knows that there is no such thing." : "";
  show("entry-result", `${key} is cached, and counted as ${kind}.${absent}`);
  const rows = copies.map((copy) => [
    copy.tier,
    duration(copy.age_seconds),
    duration(copy.ttl_seconds),
    copy.is_absent ? "absent" : bytes(copy.size_bytes),
    copy.answers_reads ? "answered" : "not asked",
  ]);
  fillRows("copies", rows);
  byId("copies-room").hidden = false;
}
