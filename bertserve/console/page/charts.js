// A curve of the last hour.

import { el, fresh, number, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;

export function curve(name, values, unit, shown = (value) => number(value)) {
  const known = values.filter((value) => value !== null);
  const most = Math.max(...known, 0) || 1;
  const latest = known.at(-1);
  const title = fresh("curve");
  const step = values.length > 1 ? WIDTH / (values.length - 1) : 0;
  const path = values
    .map((value, index) => (value === null ? "" : `${index && values[index - 1] !== null ? "L" : "M"}${(index * step).toFixed(1)} ${(HEIGHT - 3 - (value / most) * (HEIGHT - 8)).toFixed(1)}`))
    .join("");
  const told = known.length ? `${shown(latest)} ${unit} now, ${shown(most)} at most` : "nothing yet";
  return el(
    "figure",
    { class: "curve" },
    el("figcaption", {}, name, " ", el("span", { class: "soft" }, told)),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": title },
      svg("title", { id: title }, `${name}: ${told}`),
      svg("path", { class: "ground", d: `M0 ${HEIGHT - 3}H${WIDTH}` }),
      known.length > 1 ? svg("path", { class: "line", d: path }) : null,
      known.length === 1 ? svg("circle", { class: "dot", cx: WIDTH / 2, cy: HEIGHT / 2, r: 3 }) : null,
    ),
  );
}
