// The frame around the pages: which one is shown, whether the link is well, and whether what is shown is still true.

import { restate, state, write, mark, replace } from "./dom.js";
import { ago, clock, count, duration, time } from "./format.js";
import { connect } from "./live.js";
import * as flow from "./flow.js";
import * as incidents from "./incidents.js";
import * as clusters from "./clusters.js";
import * as records from "./records.js";

const PAGES = { flow, incidents, clusters, records };
const FIRST = "flow";
// Rates are taken over this long.
const WINDOW_MS = 10000;

const main = document.getElementById("main");
const by = (id) => document.getElementById(id);
let page = null;
let current = null;
let said = null;
// Totals of the last seconds.
let history = [];

const ready = state("off", "connecting");
replace(by("ready"), ready);

function hash() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path, query: new URLSearchParams(query ?? "") };
}

function route() {
  const { path, query } = hash();
  // The skip link's is no page.
  if (path === "main" && page) return;
  const name = Object.hasOwn(PAGES, path) ? path : FIRST;
  for (const link of document.querySelectorAll("nav a")) {
    mark(link, "aria-current", link.dataset.page === name ? "page" : null);
  }
  if (page && page.name === name && PAGES[name].routed) {
    PAGES[name].routed(query);
    return;
  }
  page?.shown?.unmount?.();
  replace(main);
  page = { name, shown: PAGES[name].mount(main, query) };
  if (current) page.shown.update(current, rates());
  document.title = `${PAGES[name].title}${current ? ` · ${current.link}` : ""} · kafka-bridge`;
}

function rates() {
  const [first, last] = [history[0], history[history.length - 1]];
  if (!first || last.now_ms - first.now_ms < 900) return null;
  const seconds = (last.now_ms - first.now_ms) / 1000;
  const of = (name) => (last.totals[name] - first.totals[name]) / seconds;
  return Object.fromEntries(Object.keys(last.totals).filter((it) => typeof last.totals[it] === "number").map((it) => [it, of(it)]));
}

export function show(link) {
  const before = history[history.length - 1];
  // Another process counts from zero.
  if (before && (before.started_ms !== link.started_ms || link.totals.read < before.totals.read)) history = [];
  history.push({ now_ms: link.now_ms, started_ms: link.started_ms, totals: link.totals });
  history = history.filter((it) => link.now_ms - it.now_ms <= WINDOW_MS);
  current = link;
  write(by("link-name"), link.link);
  const word = link.phase === "running" ? (link.ready.is_well ? "ready" : "not ready") : link.phase;
  restate(ready, link.ready.is_well ? "ok" : link.phase === "running" ? "bad" : "warn", word);
  mark(by("ready"), "title", link.ready.problems.join("; ") || null);
  const standing = link.incidents.filter((it) => it.stands).length + Object.keys(link.lanes.failed).length;
  write(by("incident-count"), standing);
  mark(by("incident-count"), "hidden", standing > 0 ? null : "");
  mark(by("incident-count"), "title", `${standing} standing still`);
  write(by("foot"), `kafka-bridge ${link.version} · running since ${time(link.started_ms)} (${duration((link.now_ms - link.started_ms) / 1000)}) · times in the zone of this browser`);
  const told = link.ready.is_well ? `link ${link.link} is ready` : `link ${link.link} is not ready: ${link.ready.problems.join("; ")}`;
  announce(standing > 0 ? `${told}; ${count(standing, "partition stands", "partitions stand")} still` : told);
  page?.shown.update(link, rates());
  document.title = `${PAGES[page?.name ?? FIRST].title} · ${link.link} · kafka-bridge`;
}

// Of what is read aloud, only what is new.
function announce(text) {
  if (text === said) return;
  said = text;
  write(by("announcer"), text);
}

function freshness({ heardMs, isStale }) {
  const [fresh, bar] = [by("fresh"), by("stale")];
  mark(document.body, "data-stale", isStale && heardMs !== null ? "yes" : null);
  mark(bar, "hidden", isStale && heardMs !== null ? null : "");
  if (heardMs === null) {
    write(fresh, "connecting …");
  } else if (isStale) {
    write(fresh, `stale since ${clock(heardMs)}`);
    write(bar, `▲ Stale since ${time(heardMs)} (${ago(heardMs, Date.now())}): the bridge does not answer. What you see is how it was then; connecting again …`);
    announce(`stale since ${clock(heardMs)}`);
  } else {
    write(fresh, `live · ${clock(heardMs)}`);
  }
}

by("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => {
  const before = page?.name;
  route();
  if (page?.name === before) return;
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
route();
connect(show, freshness);
