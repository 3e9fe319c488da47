// Both clusters as they are now: brokers, the link's topics, where the ends differ, who reads them, and who shares the lanes.

import { el, head, part, state, write } from "./dom.js";
import { ago, count, number, time } from "./format.js";
import { bridges, handovers } from "./bridges.js";
import { certificates } from "./certificates.js";
import { readers } from "./readers.js";

export const title = "Clusters";

const AGAIN_MS = 10000;

export function mount(root) {
  const computed = el("span", { class: "muted" }, "asking both clusters …");
  const again = el("button", { type: "button", onclick: () => look() }, "Look again");
  const boxes = Array.from({ length: 6 }, () => el("div", { class: "part" }));
  const [endsBox, certificatesBox, readersBox, bridgesBox, handoversBox, topicsBox] = boxes;
  // Which of the topics and groups are open: they stay so when the page is drawn anew.
  const opened = new Set();
  const showEnds = part(endsBox, ends);
  const showCertificates = part(certificatesBox, certificates);
  const showReaders = part(readersBox, (both) => readers(both, opened));
  const showBridges = part(bridgesBox, bridges);
  const showHandovers = part(handoversBox, handovers);
  const showTopics = part(topicsBox, (all) => topics(all, opened));
  let asked = null;
  root.append(el("div", { class: "bar" }, el("h1", {}, "Clusters"), again, computed), ...boxes);

  async function look() {
    asked?.abort();
    asked = new AbortController();
    try {
      const answer = await fetch("api/clusters", { signal: asked.signal });
      const report = await answer.json();
      if (report.error) throw new Error(report.error);
      write(computed, `as of ${time(report.computed_ms)} (${ago(report.computed_ms, Date.now())})`);
      const both = [["Source", report.source], ["Target", report.target]];
      showEnds(both.map(([name, { groups, ...end }]) => [name, end]));
      showReaders(both.map(([name, end]) => [name, end.error ? null : end.groups]));
      showBridges(report.group);
      showTopics([report.topics, report.topics_left_out]);
    } catch (error) {
      if (error.name !== "AbortError") write(computed, `▲ ${error.message}`);
    }
  }

  const timer = setInterval(look, AGAIN_MS);
  look();
  return {
    update(link) {
      // Days alone: what changes every second would be drawn every second.
      showCertificates(link.certificates.map((it) => ({ ...it, days_left: Math.floor(it.days_left) })));
      showHandovers(link.lanes.handovers);
    },
    unmount() {
      clearInterval(timer);
      asked?.abort();
    },
  };
}

function ends(both) {
  return el("div", { class: "two" }, both.map(([name, it]) => end(name, it)));
}

function end(name, it) {
  const id = `${name.toLowerCase()}-heading`;
  if (it.error) return el("section", { "aria-labelledby": id }, el("h2", { id }, name), el("p", {}, state("bad", it.error)));
  const rows = it.brokers.map((broker) => el("tr", {},
    el("th", { scope: "row", class: "num" }, broker.node),
    el("td", { class: "mono", "data-label": "Address" }, broker.address),
    el("td", { "data-label": "Kafka" }, broker.kafka ?? "–"),
    el("td", { class: "num", "data-label": "Leads" }, number(broker.leads)),
    el("td", { "data-label": "State" }, broker.error ? state("bad", broker.error) : state("ok", broker.node === it.controller ? "reached, controller" : "reached"))));
  return el("section", { "aria-labelledby": id },
    el("h2", { id }, name),
    el("p", { class: "mono muted" }, `cluster ${it.cluster_id}`),
    el("div", { class: "scroll" }, el("table", {}, head(["Broker"], ["Address"], ["Kafka"], ["Leads", "num"], ["State"]), el("tbody", {}, rows))),
    el("p", { class: "note" }, "The release is a guess from the versions of a broker's APIs. Leads: partitions of the link's topics."));
}

function topics([all, left], opened) {
  const id = "topics-heading";
  return el("section", { "aria-labelledby": id },
    el("h2", { id }, "Topics"),
    left > 0 ? el("p", { class: "note" }, `${number(left)} more are not shown.`) : null,
    all.map((it) => topic(it, opened)));
}

const KINDS = { ledger: "the link's ledger", dead_letters: "the link's dead letters" };

function topic(it, opened) {
  const name = it.source_topic ?? it.target_topic;
  const short = (partitions) => partitions.filter((row) => row.in_sync < row.replicas).length;
  const lame = (partitions) => partitions.filter((row) => row.leader === null).length;
  const both = [...it.source, ...it.target];
  const notes = [];
  if (lame(both) > 0) notes.push(state("bad", `${count(lame(both), "partition has", "partitions have")} no leader`));
  if (short(both) > 0) notes.push(state("warn", `${count(short(both), "partition is", "partitions are")} not in sync`));
  if (it.source_topic && it.target.length === 0) notes.push(state("warn", "not at the target yet"));
  if (it.differences.length > 0) notes.push(state("off", `${count(it.differences.length, "setting differs", "settings differ")}`));
  if (it.note) notes.push(state("warn", it.note));
  if (notes.length === 0) notes.push(state("ok", "in sync"));
  const renamed = it.source_topic && it.source_topic !== it.target_topic ? ` → ${it.target_topic}` : "";
  const kind = KINDS[it.kind] ? ` · ${KINDS[it.kind]}` : "";
  const node = el("details", { class: "topic", open: opened.has(name) },
    el("summary", {}, el("span", { class: "strong" }, name), el("span", { class: "muted" }, `${renamed}${kind}`), " ",
      el("span", { class: "num muted" }, count(Math.max(it.source.length, it.target.length), "partition", "partitions")), " ", notes.flatMap((note) => [note, " "])),
    layout(it),
    it.differences.length > 0 ? differences(it.differences) : null);
  node.addEventListener("toggle", () => (node.open ? opened.add(name) : opened.delete(name)));
  return node;
}

function layout(it) {
  const of = (rows) => new Map(rows.map((row) => [row.partition, row]));
  const [source, target] = [of(it.source), of(it.target)];
  const all = [...new Set([...source.keys(), ...target.keys()])].sort((a, b) => a - b);
  const cells = (row, end) => [
    el("td", { class: "num", "data-label": `Leader, ${end}` }, !row ? "–" : row.leader === null ? state("bad", "none") : `${row.leader} (epoch ${row.leader_epoch})`),
    el("td", { class: "num", "data-label": `In sync, ${end}` }, !row ? "–" : row.in_sync < row.replicas ? state("warn", `${row.in_sync} of ${row.replicas}`) : `${row.in_sync} of ${row.replicas}`),
  ];
  const rows = all.map((partition) => el("tr", {},
    el("th", { scope: "row", class: "num" }, partition),
    it.source_topic ? cells(source.get(partition), "source") : [],
    cells(target.get(partition), "target")));
  const names = [["Partition"], ...(it.source_topic ? [["Leader, source", "num"], ["In sync, source", "num"]] : []), ["Leader, target", "num"], ["In sync, target", "num"]];
  return el("div", { class: "scroll" }, el("table", {}, head(...names), el("tbody", {}, rows)));
}

function differences(all) {
  const rows = all.map((it) => el("tr", {},
    el("th", { scope: "row", class: "mono" }, it.name),
    el("td", { class: "mono", "data-label": "Source" }, it.source || "(empty)"),
    el("td", { class: "mono", "data-label": "Target" }, it.target || "(empty)")));
  return el("div", { class: "scroll" }, el("table", {}, head(["Setting"], ["Source"], ["Target"]), el("tbody", {}, rows)));
}
