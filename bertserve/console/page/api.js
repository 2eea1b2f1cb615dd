// API: the OpenAPI document of a version, path by path.

import { badge, el, field, put, select } from "./dom.js";
import { get } from "./server.js";

export async function show(main) {
  const { models } = await get("/api/models");
  const place = el("div", {});
  const choices = models.map((each) => [`${encodeURIComponent(each.name)}/${encodeURIComponent(each.version)}`, `${each.name} ${each.version}${each.default ? " (default)" : ""}`]);
  const draw = async (path) => {
    const url = `/api/openapi/${path}`;
    const document = await get(url);
    put(
      place,
      el("p", { class: "row between" },
        el("span", { class: "soft" }, `OpenAPI ${document.openapi}, at ${document.servers[0].url}`),
        el("a", { href: url, download: "openapi.json" }, "openapi.json"),
      ),
      Object.entries(document.paths).map(([each, { post }]) => operation(each, post, document)),
    );
  };
  const usual = models.find((each) => each.default) ?? models[0];
  const chosen = usual && `${encodeURIComponent(usual.name)}/${encodeURIComponent(usual.version)}`;
  main.append(el("section", { class: "card" }, field("Of", select(choices, chosen, draw))), place);
  if (chosen) await draw(chosen);
}

function operation(path, found, document) {
  const content = Object.entries(found.requestBody.content);
  return el(
    "article",
    { class: "card" },
    el("h2", { class: "path" }, badge("POST", "accent"), " ", path),
    el("p", {}, found.summary),
    el("details", {}, el("summary", {}, "Body"), content.map(([type, { schema }]) => [el("h3", {}, type), schemas(schema, document)])),
    el(
      "details",
      {},
      el("summary", {}, "Answers"),
      el("dl", { class: "facts" }, Object.entries(found.responses).map(([status, each]) =>
        el("div", {}, el("dt", {}, status), el("dd", {}, each.description, status === "200" ? schemas(each.content["application/json"].schema, document) : null)))),
    ),
  );
}

// each schema that is named, with its keys
function schemas(schema, document) {
  const named = (schema.anyOf ?? [schema]).map((each) => each.$ref?.split("/").at(-1)).filter(Boolean);
  return named.map((name) => {
    const keys = Object.entries(document.components.schemas[name].properties ?? {});
    return el(
      "section",
      { class: "schema" },
      el("h4", {}, name),
      keys.length
        ? el("ul", { class: "plain" }, keys.slice(0, 20).map(([key, value]) => el("li", {}, el("code", {}, key), " ", el("span", { class: "soft" }, value.description ?? kind(value)))))
        : el("p", { class: "soft" }, "see openapi.json"),
    );
  });
}

function kind(value) {
  if (value.$ref) return value.$ref.split("/").at(-1);
  if ("const" in value) return `always ${JSON.stringify(value.const)}`;
  return [value.type ?? "see openapi.json"].flat().join(" or ");
}
