// What an admin can do here: clear by pattern, and look a key up.

import { byId, bytes, duration, fillRows, show } from "./format.js";
import { call, Refused, Unanswered } from "./session.js";

/** `onExpired` is called where the login is not good any more. */
export function wireTools(onExpired) {
  byId("clear-form").addEventListener("submit", (event) => {
    event.preventDefault();
    askFirst(byId("pattern").value);
  });
  const dialog = byId("clear-dialog");
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "clear") attempt("clear-result", onExpired, () => clear(byId("pattern").value));
  });
  byId("entry-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt("entry-result", onExpired, () => lookUp(byId("key").value));
  });
}

export function forgetTools() {
  byId("clear-dialog").close("cancel");
  show("clear-result", "");
  show("entry-result", "");
  byId("copies-room").hidden = true;
}

function askFirst(pattern) {
  const dialog = byId("clear-dialog");
  show("clear-result", "");
  show("clear-pattern", pattern);
  dialog.returnValue = "cancel";
  dialog.showModal();
}

/** Does it, and says under this id why it could not be done. */
async function attempt(id, onExpired, action) {
  show(id, "…");
  try {
    await action();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return onExpired();
    if (error instanceof Unanswered) return show(id, "The service does not answer.", "bad");
    if (error instanceof Refused) return show(id, `Refused: ${error.message}`, "bad");
    throw error;
  }
}

async function clear(pattern) {
  const answer = await call(`/cache/clear?${new URLSearchParams({ pattern })}`, "DELETE");
  const { message } = await answer.json();
  show("clear-result", `${message}.`);
}

async function lookUp(key) {
  byId("copies-room").hidden = true;
  const answer = await call(`/cache/entry?${new URLSearchParams({ key })}`);
  const { copies, kind } = await answer.json();
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
