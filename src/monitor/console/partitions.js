// Each partition as a row. Of thousands only a page is in the document.

import { el, mark, restate, state, svg, write } from "./dom.js";
import { count, duration, number, rate, UNKNOWN } from "./format.js";

export const BEHIND_SECONDS = 10;
const ROWS_MAX = 50;
const [SPARK_WIDTH, SPARK_HEIGHT] = [72, 18];

const last = (rates) => (rates.length > 0 ? rates[rates.length - 1] : null);

// What each is sorted by; what is not known comes last.
const COLUMNS = [
  { key: "name", label: "Partition", of: null },
  { key: "state", label: "State", of: (it) => it.rank },
  { key: "next_offset", label: "Source offset", number: true, of: (it) => it.row.next_offset },
  { key: "lane", label: "Lane", number: true, of: (it) => it.row.lane },
  { key: "target", label: "Target end", number: true, of: (it) => it.row.target?.last_stable },
  { key: "lag_records", label: "Lag", number: true, of: (it) => it.row.lag_records },
  { key: "lag_seconds", label: "Lag, time", number: true, of: (it) => it.row.lag_seconds },
  { key: "headroom", label: "Headroom", number: true, of: (it) => it.row.headroom_seconds },
  { key: "sum", label: "Read = written + dead-lettered", number: true, of: (it) => it.row.read },
  { key: "rate", label: "Records/s", number: true, of: (it) => last(it.row.rates) },
];

const SHOWN = [
  ["all", "all"],
  ["behind", `behind by more than ${BEHIND_SECONDS} s`],
  ["stopped", "stopped"],
  ["letters", "with dead letters"],
];

function judged(row, link, standing) {
  const name = `${row.topic}-${row.partition}`;
  if (standing.has(name)) return { row, name, kind: "bad", word: "stopped", rank: 0 };
  if (Object.hasOwn(link.lanes.failed, row.lane)) return { row, name, kind: "bad", word: "lane stopped", rank: 1 };
  if (row.lag_seconds === null) return { row, name, kind: "off", word: "not looked at yet", rank: 3 };
  if (row.lag_seconds > BEHIND_SECONDS) return { row, name, kind: "warn", word: "behind", rank: 2 };
  return { row, name, kind: "ok", word: row.lag_records > 0 ? "copying" : "caught up", rank: row.lag_records > 0 ? 4 : 5 };
}

function compare(column, isDown) {
  const sign = isDown ? -1 : 1;
  const byName = (a, b) => a.row.topic.localeCompare(b.row.topic, "en") || a.row.partition - b.row.partition;
  if (!column.of) return (a, b) => sign * byName(a, b);
  return (a, b) => {
    const [left, right] = [column.of(a) ?? null, column.of(b) ?? null];
    if (left === null || right === null) return (left === null) - (right === null) || byName(a, b);
    return sign * (left - right) || byName(a, b);
  };
}

function spark() {
  const [area, line] = [svg("polygon", { class: "spark-area" }), svg("polyline", { class: "spark-line" })];
  return { area, line, node: svg("svg", { class: "spark", width: SPARK_WIDTH, height: SPARK_HEIGHT, viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}`, "aria-hidden": "true" }, area, line) };
}

function draw({ area, line }, rates) {
  const most = Math.max(1, ...rates);
  const step = SPARK_WIDTH / 59;
  const start = SPARK_WIDTH - (rates.length - 1) * step;
  const points = rates.map((it, at) => `${(start + at * step).toFixed(1)},${(SPARK_HEIGHT - 1 - (it / most) * (SPARK_HEIGHT - 2)).toFixed(1)}`);
  mark(line, "points", points.join(" "));
  // From zero up: a line alone could be at any height.
  const floor = SPARK_HEIGHT - 0.5;
  mark(area, "points", points.length > 1 ? `${start.toFixed(1)},${floor} ${points.join(" ")} ${SPARK_WIDTH},${floor}` : null);
}

function line() {
  const cells = {};
  const cell = (key, label, ...children) => {
    cells[key] = el("td", { "data-label": label, class: "num" }, children);
    return cells[key];
  };
  const parts = { name: el("span", { class: "strong" }), to: el("span", { class: "muted" }), state: state("off", ""), next: el("span"), end: el("span", { class: "muted" }), rate: el("span", { class: "num" }), sum: el("span"), spark: spark() };
  const node = el("tr", {},
    el("th", { scope: "row" }, parts.name, parts.to),
    el("td", { "data-label": "State" }, parts.state),
    cell("next", "Source", el("span", {}, parts.next, parts.end)),
    cell("lane", "Lane"),
    cell("target", "Target"),
    cell("lag", "Lag"),
    cell("seconds", "Lag time"),
    cell("headroom", "Headroom"),
    cell("sum", "Adds up", parts.sum),
    el("td", { "data-label": "Rate", class: "num" }, el("span", { class: "spark-cell" }, parts.spark.node, parts.rate)));
  return { node, update({ row, name, kind, word }) {
    write(parts.name, name);
    const to = `${row.target_topic}-${row.target_partition}`;
    write(parts.to, to === name ? "" : ` → ${to}`);
    restate(parts.state, kind, word);
    write(parts.next, number(row.next_offset));
    // The end was looked at up to two seconds ago; what is copied was there.
    write(parts.end, row.source ? ` of ${number(Math.max(row.source.last_stable, row.next_offset))}` : "");
    write(cells.lane, row.lane);
    write(cells.target, number(row.target?.last_stable));
    write(cells.lag, number(row.lag_records));
    write(cells.seconds, duration(row.lag_seconds));
    write(cells.headroom, row.lag_seconds === null ? UNKNOWN : row.headroom_seconds === null ? "no limit" : duration(row.headroom_seconds));
    const addsUp = row.read === row.written + row.dead_lettered;
    write(parts.sum, `${number(row.read)} ${addsUp ? "=" : "≠"} ${number(row.written)} + ${number(row.dead_lettered)}`);
    mark(parts.sum, "data-state", addsUp ? null : "bad");
    write(parts.rate, rate(last(row.rates)));
    draw(parts.spark, row.rates);
  } };
}

export function partitions() {
  let [sorted, isDown, page, link, order] = [COLUMNS[0], false, 0, null, null];
  const lines = [];
  const heads = COLUMNS.map((column) => {
    const button = el("button", { type: "button", onclick: () => sort(column) }, column.label, el("span", { class: "arrow", "aria-hidden": "true" }));
    return el("th", { scope: "col", class: column.number ? "num" : null }, button);
  });
  const filter = el("input", { type: "search", id: "filter", autocomplete: "off", spellcheck: "false", placeholder: "part of a name", oninput: again });
  const only = el("select", { id: "only", onchange: again }, SHOWN.map(([value, label]) => el("option", { value }, label)));
  const summary = el("p", { class: "summary", id: "partitions-summary" });
  const body = el("tbody");
  const back = el("button", { type: "button", onclick: () => turn(-1) }, "← Previous");
  const on = el("button", { type: "button", onclick: () => turn(1) }, "Next →");
  const at = el("span", { class: "num" });
  const pager = el("nav", { class: "pager", "aria-label": "Pages of partitions" }, back, at, on);
  const node = el("section", { "aria-labelledby": "partitions-heading" },
    el("div", { class: "bar" },
      el("h2", { id: "partitions-heading" }, "Partitions"),
      el("label", { for: "filter" }, "Filter"), filter,
      el("label", { for: "only" }, "Show"), only, summary),
    el("div", { class: "scroll" }, el("table", { class: "partitions", "aria-describedby": "partitions-summary" }, el("thead", {}, el("tr", {}, heads)), body)),
    pager);

  function sort(column) {
    isDown = sorted === column ? !isDown : Boolean(column.number);
    sorted = column;
    again();
  }

  function again() {
    page = 0;
    order = null;
    if (link) draw_();
  }

  function turn(by) {
    page += by;
    draw_();
  }

  function update(next) {
    link = next;
    draw_();
  }

  function wanted(all) {
    const text = filter.value.trim().toLowerCase();
    return all.filter((it) => {
      if (text && !it.name.toLowerCase().includes(text) && !`${it.row.target_topic}-${it.row.target_partition}`.toLowerCase().includes(text)) return false;
      if (only.value === "behind") return it.rank <= 2 && it.row.lag_seconds > BEHIND_SECONDS;
      if (only.value === "stopped") return it.rank <= 1;
      if (only.value === "letters") return it.row.dead_lettered + it.row.dead_letters > 0;
      return true;
    });
  }

  function draw_() {
    const standing = new Set(link.incidents.filter((it) => it.stands).map((it) => `${it.topic}-${it.partition}`));
    const all = link.partitions.map((it) => judged(it, link, standing));
    let found = wanted(all).sort(compare(sorted, isDown));
    // Nothing moves away from under the pointer.
    if (order && body.matches(":hover")) {
      const places = new Map(order.map((name, place) => [name, place]));
      const place = (it) => places.get(it.name) ?? places.size;
      found = found.sort((a, b) => place(a) - place(b));
    }
    order = found.map((it) => it.name);
    const pages = Math.max(1, Math.ceil(found.length / ROWS_MAX));
    page = Math.min(Math.max(page, 0), pages - 1);
    const shown = found.slice(page * ROWS_MAX, (page + 1) * ROWS_MAX);
    while (lines.length < shown.length) {
      const it = line();
      lines.push(it);
      body.append(it.node);
    }
    while (lines.length > shown.length) lines.pop().node.remove();
    shown.forEach((it, index) => lines[index].update(it));
    heads.forEach((head, index) => {
      const isSorted = COLUMNS[index] === sorted;
      mark(head, "aria-sort", isSorted ? (isDown ? "descending" : "ascending") : null);
      write(head.querySelector(".arrow"), isSorted ? (isDown ? " ▼" : " ▲") : "");
    });
    write(summary, found.length === all.length ? count(all.length, "partition", "partitions") : `${number(found.length)} of ${count(all.length, "partition", "partitions")}`);
    mark(pager, "hidden", pages > 1 ? null : "");
    write(at, `${page + 1} of ${pages}`);
    back.disabled = page === 0;
    on.disabled = page === pages - 1;
  }

  return { node, update };
}
