// Consumer groups that read the link's topics, at each end, and how far each is behind.

import { el, head, state } from "./dom.js";
import { count, number, UNKNOWN } from "./format.js";

const STATES = { Stable: "ok", Empty: "off", Dead: "off" };

export function readers(both, opened) {
  return el("div", { class: "two" }, both.map(([name, it]) => {
    const id = `${name.toLowerCase()}-groups-heading`;
    return el("section", { "aria-labelledby": id }, el("h2", { id }, `Consumer groups at the ${name.toLowerCase()}`), it ? groups(name, it, opened) : el("p", {}, state("off", "not known: the cluster does not answer")));
  }));
}

function groups(name, it, opened) {
  const hides = it.sees_all === false;
  const notes = it.notes.map((note) => el("p", {}, state("warn", note)));
  if (it.shown.length === 0 && it.notes.length === 0 && !hides) notes.push(el("p", {}, state("off", "none has committed offsets of the link's topics")));
  if (hides) {
    const right = "groups on which the bridge has no DESCRIBE are hidden: grant it to see them here";
    notes.push(el("p", {}, state(it.shown.length === 0 ? "warn" : "off", it.shown.length === 0 ? `none is visible; ${right}` : right)));
  }
  if (it.left_out > 0) notes.push(el("p", {}, state("warn", `${count(it.left_out, "more group was", "more groups were")} not looked at`)));
  return [...it.shown.map((group) => one(`${name} ${group.name}`, group, opened)), ...notes];
}

function one(key, group, opened) {
  const members = group.members === null ? "members not known" : count(group.members, "member", "members");
  const node = el("details", { class: "topic group", open: opened.has(key) },
    el("summary", {}, el("span", { class: "strong" }, group.name), " · ",
      state(STATES[group.state] ?? "warn", group.state ?? "state not known"), ` · ${members} · `,
      el("span", { class: "num strong" }, `lag ${number(group.lag)}`),
      el("span", { class: "num muted" }, ` (${group.topics.map((it) => `${it.topic} ${number(it.lag)}`).join(", ")})`)),
    group.note ? el("p", {}, state("warn", group.note)) : null,
    table(group.topics),
    group.partitions_left_out > 0 ? el("p", { class: "note" }, `${count(group.partitions_left_out, "partition that is", "partitions that are")} less behind are not shown; they count in the lag.`) : null);
  node.addEventListener("toggle", () => (node.open ? opened.add(key) : opened.delete(key)));
  return node;
}

function table(topics) {
  const rows = topics.flatMap((it) => it.partitions.map((row) => el("tr", {},
    el("th", { scope: "row" }, `${it.topic}-${row.partition}`),
    el("td", { class: "num", "data-label": "Committed" }, number(row.committed)),
    el("td", { class: "num", "data-label": "End" }, row.end === null ? UNKNOWN : number(row.end)),
    el("td", { class: "num", "data-label": "Lag" }, number(row.lag)))));
  return el("div", { class: "scroll" }, el("table", {}, head(["Partition"], ["Committed", "num"], ["End", "num"], ["Lag", "num"]), el("tbody", {}, rows)));
}
