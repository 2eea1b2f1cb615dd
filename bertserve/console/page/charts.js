// A curve of the last hour.

import { el, fresh, number, svg } from "./dom.js";

const WIDTH = 300;
const HEIGHT = 64;

export function curve(name, values, unit, shown = (value) => number(value, 1)) {
  const known = values.filter((value) => value !== null);
  const most = Math.max(...known, 0) || 1;
  const latest = known.at(-1);
  const title = fresh("curve");
  const step = values.length > 1 ? WIDTH / (values.length - 1) : 0;
  // a point that stands alone is a dot: a line of no length, with round ends
  const path = values
    .map((value, index) => {
      if (value === null) return "";
      const place = `${(index * step).toFixed(1)} ${(HEIGHT - 3 - (value / most) * (HEIGHT - 8)).toFixed(1)}`;
      return index && values[index - 1] !== null ? `L${place}` : `M${place}L${place}`;
    })
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
      svg("path", { class: "line", d: path }),
    ),
  );
}
