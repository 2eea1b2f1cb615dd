// Quality: a labelled file judged, its report, its mistakes, and their words.

import { el, field, number, once, percent, put, redraw, select, tile, tiles } from "./dom.js";
import { get, post, send, served, watch } from "./server.js";
import { words } from "./words.js";

const COLUMNS = [["text", "Text"], ["pair", "Second text"], ["label", "Label"]];

export async function show(main) {
  const models = await served();
  const versions = models.map((each) => [JSON.stringify([each.name, each.version]), `${each.name} ${each.version}${each.default ? " (default)" : ""}`]);
  const usual = models.find((each) => each.default);
  const model = select(versions, usual && JSON.stringify([usual.name, usual.version]));
  const columns = COLUMNS.map(([name, title]) => [name, title, el("input", { type: "text", autocomplete: "off" })]);
  const problem = el("p", { class: "problem", role: "alert" });
  const progress = el("div", { "aria-live": "polite" });
  const act = (control, ask) =>
    once(control, async () => {
      problem.textContent = "";
      try {
        await ask();
      } catch (error) {
        problem.textContent = error.message;
      }
    });
  // not drawn again with the progress, or a press would be lost
  const stop = el("button", { type: "button", hidden: true, click: () => act(stop, () => post("/api/quality/stop", {})) }, "Stop");
  const results = el("div", {});

  const take = async (file) => {
    if (!file || input.disabled) return;
    const [name, version] = JSON.parse(model.value);
    const query = new URLSearchParams({ model: name, version, file: file.name });
    for (const [column, , input] of columns) if (input.value.trim()) query.set(column, input.value.trim());
    await act(input, () => send(`/api/quality?${query}`, file));
  };
  const input = el("input", { type: "file", id: "labelled", accept: ".csv,.tsv,.jsonl,.ndjson,.parquet", change: () => take(input.files[0]) });
  const drop = el(
    "div",
    {
      class: "drop",
      dragover: (event) => {
        event.preventDefault();
        drop.classList.add("over");
      },
      dragleave: () => drop.classList.remove("over"),
      drop: (event) => {
        event.preventDefault();
        drop.classList.remove("over");
        take(event.dataTransfer.files[0]);
      },
    },
    el("label", { for: "labelled" }, "Drop a labelled file here, or choose one"),
    input,
    el("p", { class: "hint" }, "CSV, JSON lines or Parquet, with the columns text and label."),
  );
  main.append(
    el(
      "section",
      { class: "card" },
      el("div", { class: "row" }, field("Judge", model)),
      drop,
      el(
        "details",
        {},
        el("summary", {}, "Columns with other names"),
        el("div", { class: "row" }, columns.map(([, title, control]) => field(title, control))),
      ),
      problem,
      progress,
      stop,
    ),
    results,
  );
  return watch("/api/quality/live", (found) => {
    put(progress, told(found));
    stop.hidden = found.state !== "running";
    if (found.state === "done") redraw(results, judged(found));
    else put(results);
  });
}

function told(found) {
  if (found.state === "running") {
    const text = found.of ? `${found.file}: ${number(found.done)} of ${number(found.of)} texts` : `reading ${found.file}`;
    return [el("p", {}, text), el("progress", { max: found.of || 1, value: found.done, "aria-label": text })];
  }
  if (found.state === "stopping") return el("p", {}, `${found.file}: ending with what was asked`);
  if (found.state === "stopped") return el("p", {}, `${found.file}: stopped`);
  if (found.state === "failed") return el("p", { class: "problem" }, found.error.message);
  return null;
}

function judged(found) {
  const place = el("div", {});
  const { name, version } = found.model;
  const list = async (pair) => {
    const query = new URLSearchParams(pair ? { right: pair[0], predicted: pair[1] } : {});
    const { mistakes, of } = await get(`/api/quality/mistakes?${query}`);
    put(
      place,
      el("p", { class: "soft" }, of > mistakes.length ? `the ${mistakes.length} worst of ${of}` : `${of} texts, the worst first`),
      el("ul", { class: "mistakes" }, mistakes.map((each) => mistake(name, version, each))),
    );
  };
  const pairs = [
    ["", `all ${found.mistakes}`],
    ...found.confusions.map((each) => [JSON.stringify([each.right, each.predicted]), `${each.right} taken for ${each.predicted} (${each.count})`]),
  ];
  const filter = select(pairs, "", (value) => list(value && JSON.parse(value)));
  list(null);
  return [
    el(
      "section",
      { class: "card" },
      el("h2", {}, `${name} ${version} on ${found.file}`),
      tiles(
        tile("texts", number(found.texts)),
        tile("right", percent(found.right)),
        tile("macro F1", number(found.macro_f1, 3)),
        tile("calibration error", number(found.ece, 3), "0 is best"),
      ),
    ),
    el("section", { class: "card" }, el("h2", {}, "Mistakes"), el("div", { class: "row" }, field("Which", filter)), place),
    el(
      "section",
      { class: "card" },
      el("div", { class: "row between" }, el("h2", {}, "Report"), el("a", { href: "/quality/report", target: "_blank" }, "open it by itself")),
      el("iframe", { class: "report", src: "/quality/report", sandbox: "", title: `Report of ${name} ${version} on ${found.file}`, tabindex: "0" }),
    ),
  ];
}

function mistake(name, version, found) {
  const place = el("div", {});
  const text = found.text_pair === null ? found.text : { text: found.text, text_pair: found.text_pair };
  const open = async (event) => {
    if (!event.currentTarget.open || place.hasChildNodes()) return;
    put(place, el("p", { class: "soft" }, "asking …"));
    const labels = [found.predicted[0], found.right[0]].filter(Boolean);
    try {
      put(place, await words(name, version, text, labels[0]), labels[1] ? await words(name, version, text, labels[1]) : null);
    } catch (error) {
      put(place, el("p", { class: "problem" }, error.message));
    }
  };
  return el(
    "li",
    {},
    el(
      "details",
      { toggle: open },
      el(
        "summary",
        {},
        el("span", { class: "text" }, found.text, found.text_pair === null ? null : ` ¦ ${found.text_pair}`),
        el(
          "span",
          { class: "soft" },
          `${found.right.join(", ") || "no label"} taken for ${found.predicted.join(", ") || "none"}, ${percent(found.probability)} for what is right`,
        ),
      ),
      place,
    ),
  );
}
