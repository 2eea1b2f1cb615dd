// Elements, made of text and other elements and never of markup; and how numbers look.

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name.startsWith("--")) made.style.setProperty(name, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...shown(children));
  return made;
}

const shown = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

export function put(place, ...children) {
  place.replaceChildren(...shown(children));
}

// a part that is drawn again and again keeps the focus, by id, and what is open
export function redraw(place, ...children) {
  const focused = document.activeElement?.id;
  const open = new Set([...place.querySelectorAll("details[open][id]")].map((each) => each.id));
  put(place, ...children);
  for (const id of open) place.querySelector(`#${CSS.escape(id)}`)?.setAttribute("open", "");
  if (focused && place.contains(document.getElementById(focused))) {
    document.getElementById(focused).focus({ preventScroll: true });
  }
}

// a press does a thing once: the button waits for the answer, and gets the focus back
export async function once(button, act) {
  if (button.disabled) return;
  const focused = document.activeElement === button;
  button.disabled = true;
  try {
    await act();
  } finally {
    button.disabled = false;
    if (focused && document.activeElement === document.body) button.focus({ preventScroll: true });
  }
}

export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share > 0.9995 && share < 1) return ">\u00a099.9\u00a0%";
  if (share < 0.0005 && share > 0) return "<\u00a00.1\u00a0%";
  return `${(share * 100).toFixed(1)}\u00a0%`;
}

export function number(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

let last = 0;

export function fresh(name) {
  last += 1;
  return `${name}-${last}`;
}

export function field(label, control, hint) {
  control.id ||= fresh("field");
  const told = hint && el("span", { class: "hint", id: `${control.id}-hint` }, hint);
  if (hint) control.setAttribute("aria-describedby", `${control.id}-hint`);
  return el("div", { class: "field" }, el("label", { for: control.id }, label), control, told);
}

export function select(options, chosen, onchange) {
  return el(
    "select",
    { change: (event) => onchange?.(event.target.value) },
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
  );
}

export function facts(pairs) {
  return el(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => value !== null && value !== undefined && value !== "")
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
  );
}

export function tile(name, value, meaning) {
  return el(
    "li",
    {},
    el("span", { class: "name" }, name),
    el("span", { class: "value" }, value),
    meaning && el("span", { class: "meaning" }, meaning),
  );
}

export function tiles(...found) {
  return el("ul", { class: "tiles" }, found);
}

export function table(caption, columns, rows) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, columns.map((each) => el("th", { scope: "col" }, each)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))),
    ),
  );
}

export function badge(text, kind = "") {
  return el("span", { class: `badge ${kind}` }, text);
}
