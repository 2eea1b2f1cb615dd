// Traffic: the last minute, the last hour, and what the calibration's texts were like.

import { curve } from "./charts.js";
import { el, number, percent, redraw, table, tile, tiles } from "./dom.js";
import { get, watch } from "./server.js";

const LABELS = 8;

export async function show(main) {
  const place = el("div", {});
  main.append(el("p", { class: "soft" }, "Counted by the workers; kept in memory for an hour, while this console runs."), place);
  const { models } = await get("/api/models");
  const fitted = new Map(
    models.map((each) => [`${each.name}/${each.version}`, each.description?.calibration?.provenance?.predicted]),
  );
  return watch("/api/traffic/live", ({ versions }) => {
    redraw(
      place,
      versions.length
        ? versions.map((each) => card(each, fitted.get(`${each.name}/${each.version}`)))
        : el("p", { class: "empty" }, "Nothing was counted yet."),
    );
  });
}

function card(found, fitted) {
  const { minute, hour, curve: points } = found;
  const median = fitted?.probability?.["0.5"];
  return el(
    "article",
    { class: "card" },
    el("h2", {}, found.name, " ", el("span", { class: "figure" }, found.version)),
    tiles(
      tile("requests", `${number(minute.requests)} /s`, "in the last minute"),
      tile("failed", percent(minute.failed), `${percent(hour.failed)} in the hour`),
      tile("latency", minute.latency === null ? "–" : `${number(minute.latency, 1)} ms`, "mean, over HTTP"),
      tile("texts in a batch", number(minute.batch, 1), "mean"),
      tile("confidence", percent(minute.median), median ? `calibration's texts: ${percent(median)}` : "median"),
    ),
    el(
      "div",
      { class: "curves" },
      curve("Requests", points.map((each) => each.requests), "/s"),
      curve("Latency", points.map((each) => each.latency), "ms"),
      curve("Failed", points.map((each) => each.failed), "", percent),
      curve("Confidence", points.map((each) => each.confidence), "", percent),
    ),
    el("div", { class: "halves" }, labels(found, hour, fitted), errors(hour)),
  );
}

function labels(found, hour, fitted) {
  const shares = Object.entries(hour.labels).sort((a, b) => b[1] - a[1]);
  const most = Math.max(...shares.map(([, share]) => share));
  const columns = fitted ? ["label", "last hour", "calibration's texts"] : ["label", "last hour"];
  return el(
    "section",
    {},
    el("h3", {}, "Labels"),
    shares.length
      ? table(
          `Shares of labels of ${found.name} ${found.version}`,
          columns,
          shares.slice(0, LABELS).map(([label, share]) => {
            const row = [label, el("span", { class: "share" }, percent(share), el("span", { class: "bar", "aria-hidden": "true", "--share": share / most }))];
            return fitted ? [...row, percent(fitted.labels[label] ?? 0)] : row;
          }),
        )
      : el("p", { class: "soft" }, "None in the last hour."),
    shares.length > LABELS ? el("p", { class: "soft" }, `and ${shares.length - LABELS} more`) : null,
  );
}

function errors(hour) {
  const codes = Object.entries(hour.codes).sort((a, b) => b[1] - a[1]);
  return el(
    "section",
    {},
    el("h3", {}, "Errors"),
    codes.length
      ? table("Errors of the last hour", ["code", "requests"], codes.map(([code, count]) => [code, number(count)]))
      : el("p", { class: "soft" }, "None in the last hour."),
  );
}
