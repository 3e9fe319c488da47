// The bridges that share the lanes now, and when this one took lanes or gave them up.

import { el, head, quoted, state } from "./dom.js";
import { instant, number, ranges, time } from "./format.js";

export function bridges(it) {
  const id = "bridges-heading";
  const section = (...children) => el("section", { "aria-labelledby": id }, el("h2", { id }, "Bridges"), children);
  if (it.error) return section(el("p", {}, state("warn", `the group ${it.name} is not known: ${it.error}`)));
  if (it.members.length === 0) {
    return section(el("p", {}, it.is_shared ? state("warn", `the group ${it.name} has no members now`) : state("ok", "one bridge works all lanes: delivery.sharing is \"off\"")));
  }
  const rows = it.members.map((member) => el("tr", {},
    el("th", { scope: "row", class: "mono" }, member.instance_id ?? member.member_id),
    el("td", { class: "mono", "data-label": "Host" }, member.host),
    el("td", { "data-label": "Client id" }, member.client_id),
    el("td", { class: "num", "data-label": "Lanes" }, number(member.lanes.length)),
    el("td", { class: "num", "data-label": "Which" }, ranges(member.lanes) || "none: it stands by")));
  return section(
    el("p", { class: "muted" }, `Members of the consumer group ${it.name} at the target.`),
    el("div", { class: "scroll" }, el("table", {}, head(["Bridge"], ["Host"], ["Client id"], ["Lanes", "num"], ["Which", "num"]), el("tbody", {}, rows))));
}

const CHANGES = { taken: ["ok", "taken"], given_up: ["warn", "given up"], stopped: ["bad", "stopped"] };

// The newest first.
export function handovers(all) {
  const id = "handovers-heading";
  const section = (...children) => el("section", { "aria-labelledby": id }, el("h2", { id }, "Lanes of this bridge"), children);
  if (all.length === 0) return section(el("p", {}, state("off", "it has taken none yet")));
  const rows = all.toReversed().map((it) => el("tr", {},
    el("th", { scope: "row", class: "num" }, el("time", { datetime: instant(it.time_ms) }, time(it.time_ms))),
    el("td", { "data-label": "What" }, state(...(CHANGES[it.change] ?? ["off", it.change]))),
    el("td", { class: "num", "data-label": "Lanes" }, it.lanes.replaceAll("-", "–").replaceAll(",", ", ")),
    el("td", { "data-label": "Why" }, el("span", {}, quoted(it.text), it.detail ? el("span", { class: "muted" }, ` (${it.detail})`) : null))));
  return section(
    el("div", { class: "scroll" }, el("table", { class: "handovers" }, head(["When"], ["What"], ["Lanes", "num"], ["Why"]), el("tbody", {}, rows))),
    el("p", { class: "note" }, "The latest since this process began; the log has all."));
}
