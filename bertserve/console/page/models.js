// Models: what is served, how it is computed and calibrated, and how it is at the moment.

import { badge, el, facts, number, percent, redraw } from "./dom.js";
import { watch } from "./server.js";

export function show(main) {
  const place = el("div", {});
  main.append(place);
  return watch("/api/models/live", ({ server, models }) => {
    redraw(
      place,
      el("p", { class: "soft" }, `Served at ${server.inference}, process ${server.pid}`),
      models.length ? el("div", { class: "grid" }, models.map(card)) : el("p", { class: "empty" }, "No model is served."),
    );
  });
}

function card(model) {
  const described = model.description;
  const kind = model.state === "READY" ? "good" : "warn";
  return el(
    "article",
    { class: "card" },
    el(
      "div",
      { class: "row between" },
      el("h2", {}, model.name, " ", el("span", { class: "figure" }, model.version)),
      el("span", {}, badge(model.state.toLowerCase(), kind)),
    ),
    el(
      "p",
      { class: "badges" },
      model.default ? badge("default", "accent") : null,
      model.canary ? badge(`canary, ${number(model.canary)} % of requests`, "accent") : null,
    ),
    facts([
      ["workers", `${model.ready} of ${model.wanted} ready`],
      ["queue", `${model.pending} of ${model.queue} waiting`],
      ["architecture", described?.architecture],
      ["labels", described && `${described.labels.length}${described.activation === "sigmoid" ? ", independent" : ""}`],
      ["precision", described && `${described.precision}, on ${described.device}`],
      ["computed", described?.forward],
      ["longest text", described && `${described.max_length} tokens, then ${described.long_text}`],
      ["calibration", described && calibration(described.calibration)],
    ]),
    el(
      "details",
      { id: `workers-${model.name}-${model.version}` },
      el("summary", {}, "Workers"),
      el("ul", { class: "plain" }, model.workers.map((worker) => el("li", {}, `process ${worker.pid}: ${worker.status.toLowerCase()}`))),
    ),
    described &&
      el(
        "details",
        { id: `labels-${model.name}-${model.version}` },
        el("summary", {}, "Labels"),
        el("p", { class: "soft" }, described.labels.join(", ")),
      ),
  );
}

function calibration(found) {
  const origin = found.provenance;
  if (!origin) return found.method;
  const more = [
    found.threshold ? `a label from ${percent(found.threshold)} on` : "",
    found.sets ? `prediction sets for ${percent(found.sets.coverage)}` : "",
    origin.looks_seen ? "the texts look as if the model was trained on them" : "",
  ].filter(Boolean);
  return [
    `${found.method}, on ${number(origin.texts)} texts of ${origin.data}: expected calibration error `,
    `${number(origin.before.ece_width, 4)} → ${number(origin.after.ece_width, 4)}`,
    more.map((each) => `; ${each}`),
  ];
}
