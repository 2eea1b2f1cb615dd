// Roll out: an archive step by step, stop, rollback, canary.

import { badge, el, field, number, once, percent, put, redraw, select, table, tile, tiles } from "./dom.js";
import { get, post, watch } from "./server.js";

const UNDER_WAY = ["running", "stopping"];

export async function show(main, about) {
  if (!about.manage) {
    main.append(
      el("p", { class: "empty" }, "This console only looks. Started as ", el("code", {}, "bertserve console --manage"), " it can roll out, roll back and set canaries."),
    );
    return;
  }
  const start = el("section", { class: "card" });
  const steps = el("section", { class: "card", "aria-live": "polite", hidden: true });
  const served = el("section", {});
  const refused = el("p", { class: "problem", role: "alert" }); // beside what is under way, too
  main.append(refused, start, steps, served);
  const refresh = async () => {
    const [offered, { models }] = await Promise.all([get("/api/rollouts"), get("/api/models")]);
    put(start, begin(offered.archives, refused), offered.problems.map((each) => el("p", { class: "problem" }, each)));
    put(served, el("h2", {}, "What is served"), names(models).map((name) => versions(name, models, offered.former[name], refresh)));
  };
  await refresh();
  let before = null;
  return watch("/api/rollouts/live", (found) => {
    const isUnderWay = UNDER_WAY.includes(found.state);
    steps.hidden = found.state === "idle";
    start.hidden = isUnderWay;
    served.hidden = isUnderWay;
    redraw(steps, progress(found, refused));
    if (UNDER_WAY.includes(before) && !isUnderWay) {
      refused.textContent = "";
      refresh().catch((error) => (refused.textContent = error.message));
    }
    before = found.state;
  });
}

const names = (models) => [...new Set(models.map((each) => each.name))];

function begin(archives, refused) {
  if (!archives.length) {
    return [el("h2", {}, "Next version"), el("p", { class: "soft" }, "No archive of the model store waits. Build the next version into it with ", el("code", {}, "bertserve package"), "; what was taken away lies in its folder retired/.")];
  }
  const archive = select(archives.map((each) => [each.file, `${each.name} ${each.version} (${each.file})`]), archives[0].file);
  const watched = el("input", { type: "number", min: "0", value: "60" });
  const changed = el("input", { type: "number", min: "0", max: "100", value: "100" });
  const slowdown = el("input", { type: "number", min: "1", step: "0.1", value: "3" });
  const texts = el("textarea", { rows: "4", spellcheck: "false" });
  const button = el("button", { type: "submit", class: "main" }, "Roll out");
  const roll = async () => {
    refused.textContent = "";
    try {
      await post("/api/rollouts", {
        file: archive.value,
        watch: watched.valueAsNumber,
        labels_changed: changed.valueAsNumber / 100,
        slowdown: slowdown.valueAsNumber,
        texts: texts.value,
      });
    } catch (error) {
      refused.textContent = error.message;
    }
  };
  const submit = (event) => {
    event.preventDefault();
    once(button, roll);
  };
  return [
    el("h2", {}, "Next version"),
    el(
      "form",
      { submit },
      field("Archive", archive),
      el(
        "div",
        { class: "row" },
        field("Watch for", watched, "seconds without an error"),
        field("Labels that may change", changed, "percent of the texts"),
        field("Slowdown", slowdown, "times as long, at most"),
      ),
      field("Texts to compare on", texts, "One a line; those of the archive if there are none."),
      button,
    ),
  ];
}

function progress(found, refused) {
  if (found.state === "idle") return [];
  const isUnderWay = UNDER_WAY.includes(found.state);
  const title = { running: "Rolling out", stopping: "Putting everything back:", done: "Rolled out:", failed: "Not taken:", stopped: "Stopped, everything is as before:" };
  return [
    el("h2", {}, `${title[found.state]} ${found.name} ${found.version}`),
    el(
      "ol",
      { class: "steps" },
      found.steps.map((step, index) => {
        const isLast = index === found.steps.length - 1 && isUnderWay;
        return el("li", { class: isLast ? "now" : "past" }, step);
      }),
    ),
    found.error ? el("p", { class: "problem" }, found.error.message) : null,
    found.comparison ? comparison(found.comparison) : null,
    isUnderWay
      ? el("button", { id: "stop", type: "button", class: "danger", disabled: found.state === "stopping", click: (event) => once(event.currentTarget, () => stop(refused)) }, "Stop and put back")
      : null,
  ];
}

async function stop(refused) {
  try {
    await post("/api/rollouts/stop", {});
  } catch (error) {
    refused.textContent = error.message;
  }
}

function comparison(found) {
  return [
    el("h3", {}, `Beside the default, on ${number(found.texts)} texts`),
    tiles(
      tile("labels that change", percent(found.labels_changed)),
      tile("probabilities move", percent(found.mean_shift), `${percent(found.largest_shift)} at most`),
      tile("a request takes", `${number(found.seconds * 1000, 0)} ms`, `before ${number(found.seconds_before * 1000, 0)} ms`),
    ),
    found.changed.length
      ? table(
          "Texts whose label changes",
          ["text", "before", "after"],
          found.changed.map((each) => [
            each.text_pair === null ? each.text : `${each.text} ¦ ${each.text_pair}`,
            `${each.before} ${percent(each.probability_before)}`,
            `${each.after} ${percent(each.probability)}`,
          ]),
        )
      : null,
  ];
}

function versions(name, models, former, refresh) {
  const own = models.filter((each) => each.name === name);
  const usual = own.find((each) => each.default);
  const problem = el("p", { class: "problem", role: "alert" });
  const act = (path, body) => (event) =>
    once(event.currentTarget, async () => {
      problem.textContent = "";
      try {
        await post(path, body());
        await refresh();
      } catch (error) {
        problem.textContent = error.message;
      }
    });
  const others = own.filter((each) => !each.default);
  return el(
    "article",
    { class: "card" },
    el("h3", {}, name, " ", el("span", { class: "figure" }, usual?.version ?? ""), " ", badge("default", "accent")),
    former && former !== usual?.version
      ? el("p", {}, el("button", { type: "button", click: act("/api/rollback", () => ({ model: name })) }, `Roll back to ${former}`))
      : null,
    others.map((each) => canary(each, act)),
    others.length ? null : el("p", { class: "soft" }, "No other version is served beside it."),
    problem,
  );
}

function canary(model, act) {
  const shown = el("output", {}, `${number(model.canary ?? 0)} %`);
  const slider = el("input", { type: "range", min: "0", max: "100", step: "1", value: String(model.canary ?? 0), input: () => (shown.value = `${slider.value} %`) });
  const body = () => ({ model: model.name, version: model.version, percent: slider.valueAsNumber });
  return el(
    "div",
    { class: "canary" },
    field(`Canary: share of requests for ${model.version}`, slider, "Of our clients on this machine; 0 ends it."),
    el("div", { class: "row between" }, shown, el("button", { type: "button", click: act("/api/canary", body) }, "Set")),
  );
}
