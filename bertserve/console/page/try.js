// Try: texts, one version or two, bars, words, and the request to copy.

import { badge, el, field, fresh, number, once, percent, put, select, table } from "./dom.js";
import { post, served } from "./server.js";
import { words } from "./words.js";

const SHOWN = 6;
const kept = { model: null, text: "", pair: "", several: "", mode: "one", version: "", beside: "" };

export async function show(main) {
  const models = await served();
  const names = [...new Set(models.map((each) => each.name))];
  if (!names.includes(kept.model)) Object.assign(kept, { model: names[0], version: "", beside: "" });

  const form = el("form", { class: "card", submit: (event) => classify(event, form, results, models) });
  const results = el("div", { class: "results", "aria-live": "polite" });
  const draw = () => put(form, controls(models, names, draw));
  draw();
  put(results, el("p", { class: "empty" }, "Write a text, and see what the model says of it."));
  main.append(el("div", { class: "halves" }, form, results));
}

function controls(models, names, draw) {
  const versions = models.filter((each) => each.name === kept.model);
  const usual = versions.find((each) => each.default);
  const isPair = usual?.description?.pairs ?? false;
  const choices = versions.map((each) => [each.version, each.version + (each.default ? " (default)" : "")]);
  const keep = (name) => (value) => {
    kept[name] = value;
    if (name === "model") Object.assign(kept, { version: "", beside: "" });
    draw();
  };
  const chosen = kept.version || usual?.version;
  const others = [["", "nothing"], ...choices.filter(([version]) => version !== chosen)];
  return [
    el(
      "div",
      { class: "row" },
      names.length > 1 ? field("Model", select(names.map((n) => [n, n]), kept.model, keep("model"))) : null,
      field("Version", select(choices, chosen, keep("version"))),
      versions.length > 1 ? field("Beside it", select(others, kept.beside, keep("beside"))) : null,
    ),
    isPair
      ? null
      : el(
          "fieldset",
          { class: "segments" },
          el("legend", { class: "unseen" }, "How many texts"),
          [["one", "One text"], ["several", "Several, one a line"]].map(([mode, text]) =>
            el(
              "label",
              {},
              el("input", { type: "radio", name: "mode", value: mode, checked: kept.mode === mode, change: () => keep("mode")(mode) }),
              el("span", {}, text),
            ),
          ),
        ),
    kept.mode === "several" && !isPair
      ? field("Texts", area("several", 10), "Paste a column of a table: each line is a text.")
      : field("Text", area("text", 5)),
    isPair ? field("Second text", area("pair", 3)) : null,
    el("button", { type: "submit", class: "main" }, "Classify"),
    el("p", { class: "problem", id: "try-problem", role: "alert" }),
  ];
}

function area(name, rows) {
  const made = el("textarea", { rows, spellcheck: "false", input: () => (kept[name] = made.value) });
  made.value = kept[name];
  made.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) made.form.requestSubmit();
  });
  return made;
}

function classify(event, form, results, models) {
  event.preventDefault();
  return once(form.querySelector("button.main"), () => ask(form, results, models));
}

async function ask(form, results, models) {
  const problem = form.querySelector("#try-problem");
  const usual = models.find((each) => each.name === kept.model && each.default);
  const isPair = usual?.description?.pairs ?? false;
  const isSeveral = kept.mode === "several" && !isPair;
  const one = isPair ? { text: kept.text, text_pair: kept.pair } : kept.text;
  const texts = isSeveral ? kept.several.split("\n").filter((line) => line.trim()) : [one];
  const versions = [kept.version || usual?.version, kept.beside].filter(Boolean);
  problem.textContent = "";
  try {
    const found = await post("/api/classify", { model: kept.model, versions, texts });
    put(
      results,
      isSeveral ? list(texts, versions, found.results) : side(texts[0], versions, found.results),
      copied(found, texts.length),
    );
  } catch (error) {
    problem.textContent = error.message;
  }
}

function side(text, versions, results) {
  return el(
    "div",
    { class: versions.length > 1 ? "beside" : "" },
    versions.map((version, index) => card(text, version, results[index][0])),
  );
}

function card(text, version, found) {
  const title = el("p", { class: "soft" }, `${kept.model} ${version}`);
  if (found.error) return el("article", { class: "card" }, title, el("p", { class: "problem" }, found.error.message));
  const place = el("div", {});
  const model = kept.model;
  const explain = async (event) => {
    const button = event.currentTarget;
    button.disabled = true;
    try {
      put(place, await words(model, version, text, found.label ?? undefined));
      button.remove();
    } catch (error) {
      put(place, el("p", { class: "problem" }, error.message));
      button.disabled = false;
    }
  };
  const ranked = Object.entries(found.probabilities);
  return el(
    "article",
    { class: "card" },
    title,
    el("h2", { class: "answer" }, found.label ?? "No label", " ", el("span", { class: "figure" }, percent(found.probability))),
    decision(found),
    bars(ranked.slice(0, SHOWN)),
    ranked.length > SHOWN
      ? el("details", {}, el("summary", {}, `All ${ranked.length} labels`), bars(ranked))
      : null,
    el("button", { type: "button", click: explain }, "Which words carried it?"),
    place,
  );
}

function decision(found) {
  return el(
    "ul",
    { class: "badges" },
    found.decided === false && !found.labels ? el("li", {}, badge("below the archive's threshold", "warn")) : null,
    found.labels ? el("li", {}, badge(`labels: ${found.labels.join(", ") || "none"}`)) : null,
    found.set ? el("li", {}, badge(`${percent(found.set_coverage)} set: ${found.set.join(", ") || "empty"}`)) : null,
    el("li", {}, badge(`entropy ${number(found.entropy, 3)}`)),
    el("li", {}, badge(`margin ${number(found.margin, 3)}`)),
    el("li", {}, badge(found.calibrated ? "calibrated" : "not calibrated")),
    el("li", {}, badge(`${found.tokens} tokens${found.chunks > 1 ? ` in ${found.chunks} chunks` : ""}`)),
    found.truncated ? el("li", {}, badge("cut: the model read its beginning", "warn")) : null,
  );
}

export function bars(ranked) {
  return el(
    "ul",
    { class: "bars" },
    ranked.map(([label, share]) =>
      el(
        "li",
        {},
        el("span", { class: "label" }, label),
        el("span", { class: "figure" }, percent(share)),
        el("span", { class: "bar", "aria-hidden": "true", "--share": share }),
      ),
    ),
  );
}

function list(texts, versions, results) {
  const differ = (row) => new Set(results.map((each) => each[row].label)).size > 1;
  const count = texts.filter((_, row) => differ(row)).length;
  const cell = (found) =>
    found.error
      ? el("span", { class: "problem" }, found.error.message)
      : [
          found.label ?? "no label",
          " ",
          el("span", { class: "figure soft" }, percent(found.probability)),
          found.truncated ? [" ", badge("cut", "warn")] : null,
        ];
  return el(
    "section",
    { class: "card" },
    el("h2", {}, `${texts.length} texts`),
    versions.length > 1 ? el("p", { class: "soft" }, `${count} get another label from ${versions[1]}.`) : null,
    table(
      "What the model says of each text",
      ["text", ...versions.map((version) => `${kept.model} ${version}`)],
      texts.map((text, row) => [
        [text, differ(row) ? [" ", badge("differs", "warn")] : null],
        ...results.map((each) => cell(each[row])),
      ]),
    ),
  );
}

function copied(found, count) {
  const { snippets, snippets_of: of } = found;
  const names = Object.keys(snippets);
  const code = el("pre", { tabindex: "0", role: "region", "aria-label": "The request" }, snippets[names[0]]);
  const group = fresh("language");
  const copy = el("button", { type: "button", click: async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Select it and copy";
    }
  } }, "Copy");
  return el(
    "section",
    { class: "card" },
    el("h2", {}, "The same request"),
    el(
      "div",
      { class: "row between" },
      el(
        "fieldset",
        { class: "segments" },
        el("legend", { class: "unseen" }, "Language"),
        names.map((name, index) =>
          el(
            "label",
            {},
            el("input", { type: "radio", name: group, checked: index === 0, change: () => {
              code.textContent = snippets[name];
              copy.textContent = "Copy";
            } }),
            el("span", {}, name),
          ),
        ),
      ),
      copy,
    ),
    of < count ? el("p", { class: "soft" }, `With the first ${number(of)} of ${number(count)} texts, as many as the model takes in one request.`) : null,
    code,
    found.needs_key ? el("p", { class: "soft" }, "The key is not in it: $KEY is the inference key of the server's key_file.json.") : null,
  );
}
