// Elements by script alone. Whatever comes from a cluster becomes text here, never markup: a topic, a key or an error may be
// somebody's attempt to become part of the page.

const SVG = "http://www.w3.org/2000/svg";

export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((it) => it !== null && it !== undefined));
  return node;
}

// Only what has changed: a page that is drawn anew every second cannot be selected, nor read aloud.
export function write(node, text) {
  const wanted = String(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function mark(node, name, value) {
  const wanted = value === null || value === undefined ? null : String(value);
  if (node.getAttribute(name) === wanted) return;
  if (wanted === null) node.removeAttribute(name);
  else node.setAttribute(name, wanted);
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((it) => it !== null && it !== undefined));
}

// A part of the page that is made anew only when what it shows has changed: somebody may be reading it, or copying from it.
export function part(root, make) {
  let told = null;
  return (data, ...more) => {
    const text = JSON.stringify(data);
    if (text === told) return;
    told = text;
    replace(root, make(data, ...more));
  };
}

// The README's `code` as code.
export function quoted(text) {
  return text.split("`").map((it, at) => (at % 2 === 1 ? el("code", {}, it) : it));
}

export function head(...names) {
  return el("thead", {}, el("tr", {}, names.map(([name, kind]) => el("th", { scope: "col", class: kind ?? null }, name))));
}

// A state has a shape and a word beside its colour.
const SHAPES = { ok: "●", warn: "▲", bad: "■", off: "○" };

export function state(kind, word) {
  return el("span", { class: "state", "data-state": kind }, el("span", { class: "shape", "aria-hidden": "true" }, SHAPES[kind]), " ", el("span", {}, word));
}

export function restate(node, kind, word) {
  mark(node, "data-state", kind);
  write(node.firstChild, SHAPES[kind]);
  write(node.lastChild, word);
}

export function command(text) {
  return el("code", { class: "command", tabindex: "0" }, text);
}
