// Records of the link's topics at either end, and what became of one of them.

import { command, el, replace, state, write } from "./dom.js";
import { bytes, count, instant, number, time } from "./format.js";

export const title = "Records";

const COUNT = "20";
let onRoute = null;

export function routed(query) {
  onRoute?.(query);
}

export function mount(root, query) {
  const option = (value, label) => el("option", { value }, label ?? value);
  const end = el("select", { id: "end", onchange: () => listed() }, option("source", "source"), option("target", "target"));
  const topic = el("input", { id: "topic", list: "topics", autocomplete: "off", spellcheck: "false", required: true });
  const names = el("datalist", { id: "topics" });
  const partition = el("input", { id: "partition", inputmode: "numeric", pattern: "[0-9]*", placeholder: "all", size: "5" });
  const from = el("select", { id: "from", onchange: () => asks() }, option("latest", "the latest"), option("offset", "from an offset"), option("time", "from a time"));
  const offset = el("input", { id: "offset", inputmode: "numeric", pattern: "[0-9]*", size: "12" });
  const at = el("input", { id: "time", type: "datetime-local", step: "1" });
  const amount = el("select", { id: "count" }, ["20", "50", "100"].map((it) => option(it)));
  const show = el("button", { type: "submit", class: "primary" }, "Show");
  const field = (label, input) => el("div", { class: "field" }, el("label", { for: input.id }, label), input);
  const [offsetField, timeField] = [field("Offset", offset), field("Time", at)];
  const form = el("form", { class: "question" },
    field("End", end), field("Topic", topic), names, field("Partition", partition), field("Records", from), offsetField, timeField, field("How many", amount), show);
  const told = el("p", { class: "summary", role: "status" });
  const found = el("div");
  const refused = el("div");
  let topics = [];
  let asked = null;
  let isAllowed = null;
  root.append(el("h1", {}, "Records"), refused, form, told, found);

  function asks() {
    offsetField.hidden = from.value !== "offset";
    timeField.hidden = from.value !== "time";
    offset.required = from.value === "offset";
    at.required = from.value === "time";
    partition.required = from.value === "offset";
  }

  function listed() {
    const of = end.value === "source" ? topics.map((it) => it.source_topic) : topics.filter((it) => it.kind !== "ledger").map((it) => it.target_topic);
    replace(names, of.filter(Boolean).map((it) => option(it)));
  }

  // What is asked for stands in the address: it can be kept, sent, and gone back to.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const asking = new URLSearchParams({ end: end.value, topic: topic.value.trim() });
    if (partition.value !== "") asking.set("partition", partition.value);
    if (from.value === "offset") asking.set("offset", offset.value);
    if (from.value === "time" && at.value) asking.set("time_ms", String(new Date(at.value).getTime()));
    if (amount.value !== COUNT) asking.set("count", amount.value);
    const wanted = `#/records?${asking}`;
    if (location.hash === wanted) ask(asking);
    else location.hash = wanted;
  });

  function fill(asking) {
    end.value = asking.get("end") === "target" ? "target" : "source";
    topic.value = asking.get("topic") ?? "";
    partition.value = asking.get("partition") ?? "";
    from.value = asking.has("offset") ? "offset" : asking.has("time_ms") ? "time" : "latest";
    offset.value = asking.get("offset") ?? "";
    amount.value = asking.get("count") ?? COUNT;
    if (asking.has("time_ms")) {
      const ms = Number(asking.get("time_ms"));
      at.value = time(ms).replace(" ", "T");
    }
    listed();
    asks();
    if (asking.get("topic")) ask(asking);
  }

  async function ask(asking) {
    asked?.abort();
    asked = new AbortController();
    write(told, "reading …");
    try {
      const answer = await fetch(`api/records?${asking}`, { signal: asked.signal });
      const page = await answer.json();
      if (!answer.ok) throw new Error(page.error);
      const of = page.ranges.length === 1 ? `offsets ${number(page.ranges[0].log_start)} to ${number(page.ranges[0].last_stable - 1)} are there` : `of ${count(page.ranges.length, "partition", "partitions")}`;
      write(told, `${count(page.records.length, "record", "records")} of ${page.topic} at the ${page.end}, ${of}${page.is_cut ? "; there are more than are shown" : ""}`);
      replace(found, page.records.length > 0 ? table(page) : el("p", { class: "empty" }, "There are none."));
    } catch (error) {
      if (error.name === "AbortError") return;
      write(told, `▲ ${error.message}`);
      replace(found);
    }
  }

  function update(link) {
    if (link.records === isAllowed) return;
    isAllowed = link.records;
    form.hidden = !isAllowed;
    replace(refused, isAllowed ? null : el("div", { class: "empty" },
      el("p", {}, state("off", "Contents of records are not shown.")),
      el("p", {}, "They leave the clusters only where the config says so. Whoever reaches this console could read them then; write into [console] and restart the bridge:"),
      el("p", {}, command("records = true"))));
    if (isAllowed) begin();
  }

  async function begin() {
    onRoute = fill;
    fill(query);
    try {
      const answer = await fetch("api/clusters");
      topics = (await answer.json()).topics ?? [];
      listed();
      if (topic.value === "" && topics.length > 0) topic.value = topics[0].source_topic ?? "";
    } catch {
      // The names can be typed.
    }
  }
  form.hidden = true;
  asks();
  return {
    update,
    unmount() {
      onRoute = null;
      asked?.abort();
    },
  };
}

function table(page) {
  const isSource = page.end === "source";
  const names = ["Record", "Time", "Key", "Value"];
  return el("div", { class: "scroll" }, el("table", { class: "records" },
    el("thead", {}, el("tr", {}, names.map((it) => el("th", { scope: "col" }, it)))),
    el("tbody", {}, page.records.map((it) => row(page, it, isSource)))));
}

function row(page, it, isSource) {
  const outcome = el("div", { class: "outcome", role: "status" });
  const follow = isSource
    ? el("button", { type: "button", class: "small", onclick: (event) => where(page.topic, it, event.currentTarget, outcome) }, "Where did this go?")
    : null;
  const letter = it.dead_letter;
  return el("tr", {},
    el("th", { scope: "row", class: "num" }, el("span", { class: "strong" }, `${it.partition}@${number(it.offset)}`), follow, outcome),
    el("td", { class: "tabular nowrap", "data-label": "Time" }, el("time", { datetime: instant(it.timestamp_ms) }, time(it.timestamp_ms))),
    el("td", { "data-label": "Key" }, shown(it.key)),
    el("td", { "data-label": "Value" },
      letter ? el("p", { class: "letter" }, state("warn", letter.reason), ` ${letter.path ? `${letter.path}: ` : ""}${letter.error} · from `, link("source", letter.topic, letter.partition, letter.offset)) : null,
      shown(it.value),
      it.headers.length > 0 ? headers(it) : null));
}

function shown(part) {
  if (part === null) return el("span", { class: "muted" }, "null");
  if (part.form === "empty") return el("span", { class: "muted" }, "empty");
  const schema = part.schema_id === null ? "" : `, schema ${part.schema_id}`;
  const about = el("span", { class: "about" }, `${part.form}${schema}, ${bytes(part.bytes)}${part.is_cut ? ", only its beginning" : ""}`);
  return [part.fault ? el("p", { class: "letter" }, state("warn", part.fault)) : null, el("pre", { class: "bytes", tabindex: part.text.length > 400 ? "0" : null }, part.text), about];
}

function headers(it) {
  const all = it.headers.map((header) => el("tr", {}, el("th", { scope: "row", class: "mono" }, header.name), el("td", {}, shown(header.value))));
  const more = it.headers_left_out > 0 ? ` (${number(it.headers_left_out)} more are not shown)` : "";
  return el("details", {}, el("summary", {}, `${count(it.headers.length, "header", "headers")}${more}`), el("table", {}, el("tbody", {}, all)));
}

function link(end, topic, partition, offset) {
  const query = new URLSearchParams({ end, topic, partition, offset });
  return el("a", { href: `#/records?${query}` }, `${topic}-${partition}@${number(offset)}`);
}

async function where(topic, it, button, outcome) {
  button.disabled = true;
  replace(outcome, "following it …");
  try {
    const query = new URLSearchParams({ topic, partition: it.partition, offset: it.offset });
    const answer = await fetch(`api/destination?${query}`);
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    replace(outcome, destination(told.destination));
  } catch (error) {
    replace(outcome, state("bad", error.message));
  } finally {
    button.disabled = false;
  }
}

function destination(it) {
  const target = (of) => link("target", of.target_topic, of.target_partition, of.target_offset);
  switch (it.outcome) {
    case "copied":
      return [state("ok", "copied to"), " ", target(it)];
    case "dead_letter": {
      const [partition, offset] = it.id.split(/-(?=\d+$)/);
      const back = it.replayed ? ["; replayed to ", target(it.replayed), it.replayed.corrected ? ", corrected" : ""] : [];
      return [state("warn", "a dead letter:"), " ", link("target", it.dead_letter_topic, Number(partition), Number(offset)), back];
    }
    case "left_out":
      return [state("warn", `left out by decision, as offsets ${number(it.from_offset)} to ${number(it.next_offset - 1)}: ${it.reason}`)];
    case "not_copied":
      return [state("off", `not copied yet: the copy stands at ${number(it.next_offset)}`)];
    case "compacted":
      return [state("off", `the target has a later record of its key alone, in ${it.target_topic}-${it.target_partition}`)];
    default:
      return [state("off", "there is no committed record at this offset")];
  }
}
