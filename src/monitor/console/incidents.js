// What stands still, what did not pass its check, and what to do next.

import { command, el, part, quoted, state, write } from "./dom.js";
import { ago, count, instant, number, time } from "./format.js";

export const title = "Incidents";

const CONFIG = "--config bridge.toml";

export function mount(root) {
  const [standing, lanes, past, letters] = [el("div"), el("div"), el("div"), el("div")];
  const ages = new Map();
  root.append(
    el("h1", {}, "Incidents and dead letters"),
    el("section", { "aria-labelledby": "standing-heading" }, el("h2", { id: "standing-heading" }, "Standing still"), lanes, standing),
    el("section", { "aria-labelledby": "letters-heading" }, el("h2", { id: "letters-heading" }, "Dead letters"), letters),
    el("section", { "aria-labelledby": "past-heading" }, el("h2", { id: "past-heading" }, "Earlier incidents"), past),
  );

  const when = (ms) => {
    const age = el("span", { class: "muted" });
    ages.set(age, ms);
    return el("span", {}, el("time", { datetime: instant(ms), class: "num" }, time(ms)), " ", age);
  };

  const showStanding = part(standing, (all) => {
    if (all.length === 0) return [el("p", { class: "empty" }, state("ok", "No partition stands still."))];
    return all.map((it) => el("article", { class: "incident" },
      el("h3", {}, state("bad", it.kind), ` ${it.topic}-${it.partition}`, el("span", { class: "muted" }, ` → ${it.target}`)),
      el("p", {}, it.text),
      el("dl", { class: "facts" },
        fact("since", when(it.time_ms)),
        fact("stands at", it.next_offset < 0 ? "no position" : el("span", { class: "num" }, `source offset ${number(it.next_offset)}`)),
        fact("lost", lost(it)),
        fact("what happened", quoted(it.happened)),
        fact("what to do", el("strong", {}, quoted(it.remedy)))),
      commands(it)));
  });

  const showLanes = part(lanes, (failed) => Object.entries(failed).map(([lane, reason]) => el("article", { class: "incident" },
    el("h3", {}, state("bad", "lane stopped"), ` lane ${lane}`),
    el("p", {}, reason),
    el("p", {}, "All partitions of the lane stand still. ", el("strong", {}, "The reason says what to mend; start the bridge again then.")),
    el("p", {}, command(`kafka-bridge check ${CONFIG}`)))));

  const showPast = part(past, (all) => {
    if (all.length === 0) return [el("p", { class: "empty" }, "None since this bridge began.")];
    return [el("ul", { class: "rows" }, all.map((it) => el("li", {}, when(it.time_ms), ` ${it.kind} ${it.topic}-${it.partition} at ${number(it.next_offset)}; it goes on.`)))];
  });

  const showLetters = part(letters, ({ reasons, now, ever, topic }) => {
    const sorted = Object.entries(reasons).sort((a, b) => b[1] - a[1]);
    const most = Math.max(1, ...sorted.map((it) => it[1]));
    const rows = sorted.map(([reason, found]) => el("tr", {},
      el("th", { scope: "row", class: "mono" }, reason),
      el("td", { class: "num", "data-label": "Records" }, number(found)),
      el("td", { "data-label": "Share" }, el("meter", { min: "0", max: String(most), value: String(found), "aria-label": `${found} of ${now}` })),
      el("td", { "data-label": "Look at them" }, command(`kafka-bridge dead-letters list ${CONFIG} --reason ${reason}`))));
    const table = rows.length === 0 ? null : el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Reason"), el("th", { scope: "col", class: "num" }, "Records"), el("th", { scope: "col" }, "Share"), el("th", { scope: "col" }, "Look at them"))),
      el("tbody", {}, rows));
    const next = ever === 0 ? null : el("div", { class: "next" },
      el("p", {}, "They stand in ", el("a", { href: `#/records?${new URLSearchParams({ end: "target", topic })}` }, topic), " at the target. When the schema, the rule or the registry is mended, bring them to where they belong:"),
      el("p", {}, command(`kafka-bridge dead-letters show PARTITION-OFFSET ${CONFIG}`)),
      el("p", {}, command(`kafka-bridge dead-letters replay ${CONFIG} --dry-run`)));
    return [
      el("p", {}, state(now > 0 ? "warn" : "ok", now > 0 ? `${count(now, "record", "records")} since this bridge began` : "none since this bridge began"), ` · ${number(ever)} over the life of the partitions that it works`),
      table && el("div", { class: "scroll" }, table),
      next,
    ];
  });

  function update(link) {
    ages.forEach((ms, node) => (node.isConnected ? write(node, `(${ago(ms, link.now_ms)})`) : ages.delete(node)));
    showLanes(link.lanes.failed);
    showStanding(link.incidents.filter((it) => it.stands).reverse());
    showPast(link.incidents.filter((it) => !it.stands).reverse());
    const { dead_letter_reasons: reasons, dead_lettered: now } = link.totals;
    const ever = link.partitions.reduce((sum, it) => sum + it.dead_letters, 0);
    showLetters({ reasons, now, ever, topic: link.dead_letter_topic });
    ages.forEach((ms, node) => write(node, `(${ago(ms, link.now_ms)})`));
  }
  return { update };
}

function fact(name, value) {
  return el("div", {}, el("dt", {}, name), el("dd", {}, value));
}

function lost({ first_lost: first, last_lost: last }) {
  if (first === null && last === null) return "as far as can be known, nothing yet, or nobody can know";
  if (first === null) return `up to source offset ${number(last)}`;
  if (last === null) return `from source offset ${number(first)} on`;
  return `source offsets ${number(first)} to ${number(last)}, ${count(last - first + 1, "offset", "offsets")}`;
}

function commands(it) {
  const list = el("p", {}, command(`kafka-bridge incidents ${CONFIG}`), " tells what would be lost and where it would go on.");
  if (!it.is_acceptable) return el("div", { class: "next" }, list, el("p", {}, "It cannot be accepted: the cause has to be mended, and the bridge started again."));
  return el("div", { class: "next" }, list, el("p", {}, command(`kafka-bridge incidents accept ${it.id} --reason "…" ${CONFIG}`), " lets it go on past the gap; a bridge that runs takes it up within seconds."));
}
