// Certificates that connections use at this moment, the one that ends first above.

import { el, head, state } from "./dom.js";
import { count, time } from "./format.js";

// As `check` warns.
export const SOON_DAYS = 30;

const WHOSE = { bridge: "the bridge's own", broker: "a broker's" };

function left({ days_left: days }) {
  if (days < 0) return state("bad", "it has ended");
  return state(days < SOON_DAYS ? "bad" : "ok", count(days, "day", "days"));
}

export function certificates(all) {
  const id = "certificates-heading";
  const section = (child) => el("section", { "aria-labelledby": id }, el("h2", { id }, "Certificates"), child);
  if (all.length === 0) return section(el("p", {}, state("off", "none is in use: neither end is reached by TLS")));
  const rows = all.toSorted((one, other) => one.not_after_ms - other.not_after_ms).map((it) => el("tr", {},
    el("th", { scope: "row", class: "mono" }, it.subject),
    el("td", { "data-label": "End" }, it.end),
    el("td", { "data-label": "Whose" }, WHOSE[it.whose] ?? it.whose),
    el("td", { class: "num", "data-label": "Until" }, time(it.not_after_ms)),
    el("td", { class: "num", "data-label": "Left" }, left(it))));
  return section(el("div", { class: "scroll" }, el("table", { class: "certificates" },
    head(["Subject"], ["End"], ["Whose"], ["Until", "num"], ["Left", "num"]), el("tbody", {}, rows))));
}
