// What is asked of the console's server.

export class Problem extends Error {
  constructor(status, error) {
    super(error?.message ?? `the console answers ${status}`);
    this.code = error?.code;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Problem(0, { message: "the console does not answer; was it ended?" });
  }
  const value = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, value.error);
  return value;
}

export const get = (path) => ask(path);

// the versions that are served
export async function served() {
  const { models } = await get("/api/models");
  if (!models.length) throw new Problem(200, { code: "NoModel", message: "No model is served." });
  return models;
}

export const post = (path, body) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

export const send = (path, file) => ask(path, { method: "POST", body: file });

// Values as they come, but only while the page is seen; returns what ends it.
export function watch(path, seen) {
  let source = null;
  const away = document.getElementById("away");
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(path);
    source.onmessage = (event) => {
      const value = JSON.parse(event.data);
      const message = value.error && !value.state ? value.error.message : "";
      away.textContent = message;
      away.hidden = !message;
      if (!message) seen(value);
    };
    source.onerror = () => {
      away.textContent = "The console does not answer; was it ended?";
      away.hidden = false;
    };
  };
  const close = () => {
    source?.close();
    source = null;
  };
  const turn = () => (document.hidden ? close() : open());
  document.addEventListener("visibilitychange", turn);
  open();
  return () => {
    document.removeEventListener("visibilitychange", turn);
    close();
    away.hidden = true;
  };
}
