// Numbers and times for people: grouped, with their units, and none more exact than it is.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const UNKNOWN = "–";

export function number(value) {
  return value === null || value === undefined ? UNKNOWN : whole.format(value);
}

export function rate(value, what = "") {
  if (value === null || value === undefined) return UNKNOWN;
  return `${value > 0 && value < 10 ? tenths.format(value) : whole.format(value)}${what && ` ${what}`}/s`;
}

const SIZES = ["B", "KB", "MB", "GB", "TB"];

export function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  let at = 0;
  let rest = value;
  while (rest >= 1000 && at < SIZES.length - 1) {
    rest /= 1000;
    at += 1;
  }
  return `${at > 0 && rest < 10 ? tenths.format(rest) : whole.format(rest)} ${SIZES[at]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds < 0.001) return "0 s";
  if (seconds < 0.1) return `${whole.format(Math.max(1, seconds * 1000))} ms`;
  if (seconds < 10) return `${tenths.format(seconds)} s`;
  const all = Math.floor(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${all % 60} s`;
  if (all < 86400) return `${Math.floor(all / 3600)} h ${Math.floor((all % 3600) / 60)} min`;
  // Hours are nothing beside months.
  if (all >= 30 * 86400) return `${whole.format(Math.floor(all / 86400))} d`;
  return `${whole.format(Math.floor(all / 86400))} d ${Math.floor((all % 86400) / 3600)} h`;
}

const two = (it) => String(it).padStart(2, "0");

export function clock(ms) {
  const it = new Date(ms);
  return `${two(it.getHours())}:${two(it.getMinutes())}:${two(it.getSeconds())}`;
}

// In the zone of whoever looks; records may have any time that fits into 64 bits.
export function time(ms) {
  const it = new Date(ms);
  if (Number.isNaN(it.getTime())) return `${ms} ms`;
  return `${it.getFullYear()}-${two(it.getMonth() + 1)}-${two(it.getDate())} ${clock(ms)}`;
}

export function instant(ms) {
  const it = new Date(ms);
  return Number.isNaN(it.getTime()) ? "" : it.toISOString();
}

export function ago(ms, now) {
  const seconds = (now - ms) / 1000;
  if (seconds < 0) return `in ${duration(-seconds)}`;
  return seconds < 1 ? "just now" : `${duration(Math.floor(seconds))} ago`;
}

export function count(value, one, many) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

// 1, 2, 3, 7 as 1–3, 7.
export function ranges(numbers) {
  const parts = [];
  for (const it of numbers) {
    const last = parts[parts.length - 1];
    if (last && it === last[1] + 1) last[1] = it;
    else parts.push([it, it]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}
