// Which words carried a prediction: the text coloured, and the strongest words in a table.

import { el, number, percent, table } from "./dom.js";
import { post } from "./server.js";

const LISTED = 10;

export async function words(model, version, text, label) {
  const found = await post("/api/explain", { model, version, texts: [text], label });
  const isPair = typeof text !== "string";
  return el(
    "section",
    { class: "words", "aria-label": `Words that carried ${found.label}` },
    el("h3", {}, "Words for ", el("strong", {}, found.label), ` ${percent(found.probability)}`),
    found.remark && el("p", { class: "note" }, found.remark),
    Object.values(found.parts).map((parts) => el("p", { class: "coloured" }, parts.map(piece))),
    el(
      "p",
      { class: "legend" },
      el("span", { class: "word for", "--strength": 0.8 }, "speaks for it"),
      " ",
      el("span", { class: "word against", "--strength": 0.8 }, "speaks against it"),
    ),
    el(
      "details",
      {},
      el("summary", {}, "The strongest words"),
      table(
        `What words add to the logit of ${found.label}`,
        isPair ? ["word", "of", "adds to the logit"] : ["word", "adds to the logit"],
        found.words.slice(0, LISTED).map((word) => {
          const adds = `${word.attribution > 0 ? "+" : ""}${number(word.attribution, 3)}`;
          return isPair ? [word.word, word.of, adds] : [word.word, adds];
        }),
      ),
    ),
  );
}

function piece([text, strength]) {
  if (Math.abs(strength) < 0.02) return text;
  const kind = strength > 0 ? "for" : "against";
  return el(
    "span",
    { class: `word ${kind}`, "--strength": Math.abs(strength).toFixed(3) },
    text,
    Math.abs(strength) > 0.3 && el("span", { class: "unseen" }, strength > 0 ? " (for)" : " (against)"),
  );
}
