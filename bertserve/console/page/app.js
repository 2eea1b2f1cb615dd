// Which part is shown: it stands behind the # of the address.

import { el, put } from "./dom.js";
import { get, watch } from "./server.js";

const PARTS = [
  ["try", "Try", "./try.js"],
  ["models", "Models", "./models.js"],
  ["traffic", "Traffic", "./traffic.js"],
  ["quality", "Quality", "./quality.js"],
  ["rollout", "Roll out", "./rollout.js"],
  ["api", "API", "./api.js"],
];

// what a part lacks that may come while the page is open
const AWAY = ["NotRunning", "Unavailable", "NoModel"];

const main = document.getElementById("main");
const nav = document.getElementById("parts");
let leave = () => {};
let turn = 0;

async function show(moved) {
  const wanted = location.hash.slice(1);
  const [name, title, module] = PARTS.find(([each]) => each === wanted) ?? PARTS[0];
  for (const link of nav.querySelectorAll("a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${title} · bertserve`;
  const mine = (turn += 1);
  leave();
  leave = () => {};
  try {
    const { show: draw } = await import(module);
    if (mine !== turn) return;
    const place = el("div", {}); // its own, for it may come when another part is shown already
    put(main, el("h1", {}, title), place);
    const left = await draw(place, await about);
    if (mine === turn) leave = left ?? (() => {});
    else left?.();
  } catch (error) {
    if (mine === turn) {
      put(main, el("h1", {}, title), el("p", { class: "problem" }, error.message));
      if (AWAY.includes(error.code)) leave = whenServed(() => show(false));
    }
  }
  if (moved) main.focus({ preventScroll: true });
}

// again once a model is served; after a pause, for another one may not answer yet
function whenServed(again) {
  let later = null;
  const end = watch("/api/models/live", ({ models }) => {
    if (models.some((each) => each.ready)) later ??= setTimeout(again, 1000);
  });
  return () => {
    clearTimeout(later);
    end();
  };
}

// the token has done its work, and must not stay in the history
history.replaceState(null, "", location.pathname + location.hash);
put(nav, PARTS.map(([name, title]) => el("li", {}, el("a", { href: `#${name}` }, title))));
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
const about = get("/api/about");
addEventListener("hashchange", () => show(true));
show(false);
