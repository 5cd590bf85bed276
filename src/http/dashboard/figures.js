// The figures of this moment, and what can be told from their differences.

import { bytes, byId, count, duration, NOTHING, percent, perSecond, share, show } from "./format.js";

/** "Now" is so long. */
const SPAN_SECONDS = 10;

let samples = [];

export function forgetFigures() {
  samples = [];
}

export function showFigures(figures) {
  const earlier = remember(figures);
  showReads(figures.cache, earlier?.cache);
  showRequests(figures, earlier);
  showTrust(figures);
  showCache(figures.cache, earlier?.cache);
  showRedis(figures, earlier);
  showLog(figures.cache);
  show("about", `${figures.version}, ${figures.cache.backend} cache, up ${duration(figures.uptime_seconds)}`);
}

/** Keeps this sample, and answers the one that it is to be compared with. */
function remember(figures) {
  const latest = samples.at(-1);
  // It has been started anew, and counts from zero.
  const isAnew = (than) => figures.uptime_seconds < than.uptime_seconds || figures.requests.total < than.requests.total;
  if (latest && isAnew(latest)) samples = [];
  const isOld = (sample) => figures.uptime_seconds - sample.uptime_seconds > SPAN_SECONDS + 1;
  samples = samples.filter((sample) => !isOld(sample));
  samples.push(figures);
  return samples.length > 1 ? samples[0] : null;
}

function readsOf(cache) {
  const { near_hits: near, far_hits: far, keyspace_hits: hits, keyspace_misses: misses } = cache;
  return { near, far, hits, all: hits + misses };
}

function showReads(cache, before) {
  const ever = readsOf(cache);
  const then = before ? readsOf(before) : ever;
  const all = ever.all - then.all;
  const rates = { rate: "hits", near: "near", far: "far" };
  for (const [id, part] of Object.entries(rates)) {
    show(`${id}-now`, percent(share(ever[part] - then[part], all)));
    show(`${id}-ever`, `${percent(share(ever[part], ever.all))} of ${count(ever.all)}`);
  }
}

function showRequests(figures, earlier) {
  const seconds = earlier ? figures.uptime_seconds - earlier.uptime_seconds : 0;
  const { requests } = figures;
  const before = earlier?.requests ?? requests;
  const rate = (number) => (seconds > 0 ? number / seconds : null);
  show("requests-now", perSecond(rate(requests.total - before.total)));
  show("requests-ever", `${count(requests.total)} in all`);

  const failed = (of) => of.by_status["5xx"] ?? 0;
  const now = failed(requests) - failed(before);
  show("failed-now", count(now), now > 0 ? "bad" : "");
  show("failed-ever", `${count(failed(requests))} in all, ${count(requests.by_status["4xx"] ?? 0)} with 4xx`);

  const bounds = requests.latency.bounds_seconds;
  const fresh = requests.latency.counts.map((number, place) => number - before.latency.counts[place]);
  const [half, most] = [quantile(bounds, fresh, 0.5), quantile(bounds, fresh, 0.99)];
  const time = (seconds) => (seconds === Infinity ? `over ${duration(bounds.at(-1))}` : duration(seconds));
  show("latency-p50", half === null ? NOTHING : time(half));
  show("latency-p99", `p99 ${most === null ? NOTHING : time(most)}`);
}

/**
 * Below which a part of what fell into the buckets lies, as if each bucket were evenly full. The last
 * bucket has no end.
 */
function quantile(bounds, counts, part) {
  const all = counts.reduce((sum, number) => sum + number, 0);
  if (all === 0) return null;
  let left = all * part;
  for (const [place, number] of counts.entries()) {
    if (left <= number && number > 0) {
      const lower = place === 0 ? 0 : bounds[place - 1];
      const upper = bounds[place] ?? Infinity;
      return lower + (upper - lower) * (left / number);
    }
    left -= number;
  }
  return Infinity;
}

const STATUS_STYLES = { available: "good", degraded: "warn", up: "good", down: "bad", damaged: "bad" };

function showTrust({ cache, health }) {
  const isOff = cache.backend === "off";
  show("cache-status", isOff ? "off" : cache.status, isOff ? "" : (STATUS_STYLES[cache.status] ?? "bad"));
  const { database } = health.components;
  show("database-status", database, STATUS_STYLES[database]);
  show("stale-served", count(cache.stale_served));
  show("distrusts", count(cache.distrusts));
  show("redis-forged", count(cache.redis_forged), cache.redis_forged > 0 ? "bad" : "");
}

function showCache(cache, before) {
  show("entries", count(cache.entries));
  show("memory-name", hasRedis(cache) && cache.connected_clients > 0 ? "Memory of Redis" : "Memory here");
  show("used-memory", bytes(cache.used_memory));
  show("fills", `${count(cache.fills)}, ${count(cache.fills_refused)} overtaken`);
  show("voids", count(cache.voids));
  show("voids-unconfirmed", count(cache.voids_unconfirmed), grown(cache, before, "voids_unconfirmed"));
}

/** How a count looks that should not grow, and has grown of late. */
function grown(cache, before, name) {
  return before && cache[name] > before[name] ? "warn" : "";
}

function hasRedis(cache) {
  return ["redis", "tiered"].includes(cache.backend);
}

function showRedis({ cache, uptime_seconds: uptime }, earlier) {
  byId("redis").hidden = !hasRedis(cache);
  byId("no-redis").hidden = hasRedis(cache);
  const seconds = earlier ? uptime - earlier.uptime_seconds : 0;
  const commands = cache.redis_commands - (earlier?.cache.redis_commands ?? 0);
  const isUsed = !cache.backend_reason;
  show("redis-state", isUsed ? "used" : "not used", isUsed ? "good" : "warn");
  show("connected-clients", count(cache.connected_clients));
  show("redis-commands", count(cache.redis_commands));
  show("redis-commands-now", perSecond(seconds > 0 ? commands / seconds : null));
  show("redis-failures", count(cache.redis_failures), grown(cache, earlier?.cache, "redis_failures"));
}

function showLog(cache) {
  const isOff = cache.backend === "off";
  show("log-age", isOff ? NOTHING : `${duration(cache.log_age_ms / 1000)} ago`);
  show("log-lag", cache.log_changes > 0 ? duration(cache.log_lag_ms / 1000) : NOTHING);
  show("log-changes", count(cache.log_changes));
  show("observer-checked", count(cache.observer_checked));
  show("observer-inconsistent", count(cache.observer_inconsistent), cache.observer_inconsistent > 0 ? "bad" : "");
  const longest = cache.observer_seconds_to_consistency;
  show("observer-longest", longest > 0 ? duration(longest) : NOTHING);
}

/** What is wrong, each in words; nothing where all is well. */
export function troublesOf({ cache, health }) {
  const troubles = [];
  if (health.components.database === "down") {
    troubles.push({
      kind: "database",
      words: "The database does not answer. Reads come out of the cache for a while, writes are refused.",
    });
  }
  if (health.components.database === "damaged") {
    troubles.push({ kind: "database", words: `The database is damaged: ${health.reason}. Writes are refused.` });
  }
  if (cache.backend === "off") {
    troubles.push({ kind: "off", words: "The cache is off by configuration. Every read goes to the database." });
    return troubles;
  }
  const { status, reason, backend_reason: ofBackend } = cache;
  const ofCache = (why) => ({ kind: status, words: `The cache is ${status}: ${why}.` });
  const ofRedis = (why) => ({
    kind: "redis",
    words: `Redis is not used: ${why}. This instance answers from its own memory and the database.`,
  });
  if (ofBackend) troubles.push(hasRedis(cache) ? ofRedis(ofBackend) : ofCache(ofBackend));
  if (status !== "available" && reason !== ofBackend) troubles.push(ofCache(reason));
  return troubles;
}
