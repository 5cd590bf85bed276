// The login, and calls on behalf of whoever is logged in.

const TOKEN = "alacena.token";
const PATIENCE_MS = 10_000;

/** The service has answered that it will not. */
export class Refused extends Error {
  constructor(status, problem, waitSeconds) {
    super(problem.errors?.map(({ field, message }) => `${field} ${message}`).join("; ") ?? problem.detail);
    this.status = status;
    this.waitSeconds = waitSeconds;
  }
}

/** Nobody has answered. */
export class Unanswered extends Error {}

export function isLoggedIn() {
  return sessionStorage.getItem(TOKEN) !== null;
}

export function logOut() {
  sessionStorage.removeItem(TOKEN);
}

/** Logs in, or throws why not. */
export async function logIn(username, password) {
  const body = new URLSearchParams({ username, password, grant_type: "password" });
  const { access_token: token } = await read(await ask("/auth/login", { method: "POST", body }), "json");
  sessionStorage.setItem(TOKEN, token);
}

/** What a call with the token is answered: an object. */
export async function callForJson(path, method = "GET") {
  return read(await call(path, method), "json");
}

/** The same: a picture. */
export async function callForBlob(path) {
  return read(await call(path, "GET"), "blob");
}

function call(path, method) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}` };
  return ask(path, { method, headers });
}

/** An answer may end before it is whole. */
async function read(answer, as) {
  try {
    return await answer[as]();
  } catch (error) {
    throw new Unanswered(error.message);
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  } catch (error) {
    throw new Unanswered(error.message);
  }
  if (answer.ok) return answer;
  const wait = Number(answer.headers.get("Retry-After")) || null;
  throw new Refused(answer.status, await problemOf(answer), wait);
}

/** What a proxy in between answers may be no problem of ours. */
async function problemOf(answer) {
  try {
    return await answer.json();
  } catch {
    return { detail: `the answer was ${answer.status}` };
  }
}
