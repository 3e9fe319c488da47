// The link as one picture, and below it every partition.

import { el, mark, restate, state, write } from "./dom.js";
import { bytes, count, duration, number, ranges, rate, time, UNKNOWN } from "./format.js";
import { SOON_DAYS } from "./certificates.js";
import { BEHIND_SECONDS, partitions } from "./partitions.js";

export const title = "Flow";

const DAY_SECONDS = 86400;

// Names of figures, by where they stand.
function figures(names) {
  const values = {};
  const list = el("dl", { class: "figures" }, names.map(([key, label]) => {
    values[key] = el("dd", { class: "num" }, UNKNOWN);
    return el("div", {}, el("dt", {}, label), values[key]);
  }));
  return { list, values };
}

function zone(heading, kind, names) {
  const { list, values } = figures(names);
  const sub = el("p", { class: "sub mono" }, UNKNOWN);
  return { node: el("article", { class: `zone ${kind}` }, el("h2", {}, heading), sub, list), sub, values };
}

function pipe(label) {
  const records = el("span", { class: "num strong" }, UNKNOWN);
  const volume = el("span", { class: "num muted" }, UNKNOWN);
  const letters = state("off", "");
  const node = el("div", { class: "pipe", role: "group", "aria-label": label },
    el("span", { class: "over" }, records), el("span", { class: "wire", "aria-hidden": "true" }), el("span", { class: "under" }, volume, letters));
  letters.hidden = true;
  return { node, records, volume, letters };
}

function tile(label, wide) {
  const value = el("span", { class: "value num" }, UNKNOWN);
  const note = state("off", "");
  return { node: el("div", { class: wide ? "tile wide" : "tile" }, el("dt", {}, label), el("dd", {}, value, note)), value, note };
}

function certificates({ values }, link, end) {
  const all = link.certificates.filter((it) => it.end === end).sort((a, b) => a.days_left - b.days_left);
  const first = all[0];
  write(values.certificates, first ? (first.days_left < 0 ? "ended" : duration(first.days_left * DAY_SECONDS)) : UNKNOWN);
  mark(values.certificates, "data-state", first && first.days_left < SOON_DAYS ? "bad" : null);
  mark(values.certificates, "title", all.map((it) => `${it.whose}: ${it.subject}, until ${time(it.not_after_ms)}`).join("\n") || null);
}

export function mount(root) {
  const source = zone("Source zone", "source", [["brokers", "brokers"], ["partitions", "partitions"], ["open", "offsets held by open transactions"], ["certificates", "certificates end in"]]);
  const bridge = zone("kafka-bridge", "bridge", [["lanes", "lanes"], ["latency", "commit p50 / p99"], ["memory", "memory"], ["members", "bridges"]]);
  const target = zone("Target zone", "target", [["brokers", "brokers"], ["protocol", "transaction protocol"], ["copied", "copied, over the link's life"], ["letters", "dead letters, over its life"], ["certificates", "certificates end in"]]);
  const read = pipe("From the source to the bridge");
  const written = pipe("From the bridge to the target");
  const tiles = { lag: tile("Lag"), headroom: tile("Retention headroom"), sum: tile("Read = written + dead-lettered", true), transactions: tile("Transactions"), letters: tile("Dead letters"), incidents: tile("Incidents") };
  const problems = el("ul", { class: "problems", hidden: true });
  const picture = el("div", { class: "picture" }, source.node, read.node, bridge.node, written.node, target.node);
  const table = partitions();
  root.append(
    el("h1", { class: "visually-hidden" }, "Flow"),
    problems,
    el("section", { "aria-label": "The link" }, picture, el("dl", { class: "tiles" }, Object.values(tiles).map((it) => it.node))),
    table.node,
  );

  function update(link, rates) {
    const { totals, lanes } = link;
    const known = link.partitions;
    const sum = (of) => known.reduce((all, it) => all + (of(it) ?? 0), 0);
    const open = (end) => sum((it) => it[end] && it[end].high_watermark - it[end].last_stable);
    mark(problems, "hidden", link.ready.problems.length > 0 ? null : "");
    const told = link.ready.problems.join("\n");
    if (problems.dataset.told !== told) {
      problems.dataset.told = told;
      problems.replaceChildren(...link.ready.problems.map((it) => el("li", {}, state("bad", it))));
    }
    write(source.sub, link.source ? link.source.cluster_id : "not reached yet");
    write(target.sub, link.target ? link.target.cluster_id : "not reached yet");
    write(bridge.sub, link.link);
    certificates(source, link, "source");
    certificates(target, link, "target");
    write(source.values.brokers, number(link.source?.brokers));
    write(source.values.partitions, number(known.length));
    write(source.values.open, number(open("source")));
    const failed = Object.keys(lanes.failed).length;
    write(bridge.values.lanes, `${lanes.taken.length} of ${lanes.count}${failed > 0 ? `, ${failed} stopped` : ""}`);
    mark(bridge.values.lanes, "title", `works lanes ${ranges(lanes.taken) || "none"}`);
    const ms = (it) => (it === null ? UNKNOWN : duration(it));
    write(bridge.values.latency, `${ms(totals.latency_p50_seconds)} / ${ms(totals.latency_p99_seconds)}`);
    write(bridge.values.memory, link.memory ? `${bytes(link.memory.bytes_used)} of ${bytes(link.memory.bytes_max)}` : UNKNOWN);
    write(bridge.values.members, lanes.generation_id === null ? "1, sharing is off" : `${number(lanes.members)}, generation ${lanes.generation_id}`);
    write(target.values.brokers, number(link.target?.brokers));
    write(target.values.protocol, link.transaction_protocol === null ? UNKNOWN : `v${link.transaction_protocol}`);
    write(target.values.copied, number(sum((it) => it.records)));
    write(target.values.letters, number(sum((it) => it.dead_letters)));
    write(read.records, rate(rates?.read, "records"));
    write(read.volume, `${bytes(rates?.bytes_read)}${rates ? "/s" : ""}`);
    write(written.records, rate(rates?.written, "records"));
    write(written.volume, `${bytes(rates?.bytes_written)}${rates ? "/s" : ""}`);
    written.letters.hidden = !(rates?.dead_lettered > 0);
    restate(written.letters, "warn", rate(rates?.dead_lettered, "dead letters"));
    mark(read.node, "data-flowing", rates?.read > 0 ? "yes" : null);
    mark(written.node, "data-flowing", rates?.written > 0 ? "yes" : null);

    write(tiles.lag.value, duration(totals.lag_seconds));
    const isBehind = totals.lag_seconds > BEHIND_SECONDS;
    restate(tiles.lag.note, known.length === 0 ? "off" : isBehind ? "warn" : "ok", `${count(totals.lag_records, "record", "records")} to copy`);
    const rooms = known.map((it) => it.headroom_seconds).filter((it) => it !== null);
    const room = rooms.length > 0 ? Math.min(...rooms) : null;
    write(tiles.headroom.value, room === null ? "no limit" : duration(room));
    // A lag of a moment is far from it.
    const near = rooms.filter((it) => it < DAY_SECONDS).length;
    const nearness = near === 0 ? "ok" : room < 3600 ? "bad" : "warn";
    restate(tiles.headroom.note, nearness, near > 0 ? `${count(near, "partition is", "partitions are")} being overtaken` : room === null ? "retention is not gaining" : "of the nearest partition");
    const missing = totals.read - totals.written - totals.dead_lettered;
    write(tiles.sum.value, `${number(totals.read)} = ${number(totals.written)} + ${number(totals.dead_lettered)}`);
    restate(tiles.sum.note, missing === 0 ? "ok" : "bad", missing === 0 ? "adds up" : `does not add up by ${number(missing)}`);
    write(tiles.transactions.value, rate(rates?.committed));
    const spoiled = totals.aborted + totals.fenced + totals.ambiguous + totals.mended;
    restate(tiles.transactions.note, spoiled > 0 ? "warn" : "ok", `${number(totals.committed)} committed, ${number(totals.aborted)} aborted`);
    mark(tiles.transactions.note, "title", `${totals.ambiguous} decided by the ledger, ${totals.fenced} fenced, ${totals.mended} with markers mended`);
    write(tiles.letters.value, number(totals.dead_lettered));
    restate(tiles.letters.note, totals.dead_lettered > 0 ? "warn" : "ok", rates ? `${rate(rates.dead_lettered)} now` : "since this bridge began");
    const standing = link.incidents.filter((it) => it.stands).length;
    write(tiles.incidents.value, number(standing));
    restate(tiles.incidents.note, standing > 0 || failed > 0 ? "bad" : "ok", standing > 0 ? `${count(standing, "partition stands", "partitions stand")} still` : failed > 0 ? `${count(failed, "lane", "lanes")} stopped` : "nothing stands still");
    table.update(link);
  }
  return { update };
}
