"""The document as programs use it: thousands of calls, and a client in TypeScript made from it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bertserve import openapi
from calling import call_as_documented
from once import one_at_a_time
from serving import Served

PACKAGES = ("openapi-fetch@0.17.0", "openapi-typescript@7.13.0", "typescript@5.9.3")

# what compiles only if the document says what may be sent, and what is answered
PROGRAM = """
import createClient from "openapi-fetch";
import type { paths, components } from "./api.js";

const client = createClient<paths>({
  baseUrl: process.env.URL!,
  headers: { Authorization: `Bearer ${process.env.KEY}` },
});
const { data, error } = await client.POST("/v1/models/tiny:predict", {
  body: { instances: ["good film", { text: "awful", top_k: 1 }] },
});
if (error || !data) throw new Error(JSON.stringify(error));
console.log(JSON.stringify(data.predictions));

const label: components["schemas"]["Label"] = "positive";
const wrong = await client.POST("/predictions/tiny", { body: { text: label, top_k: 0 } });
if (wrong.error === undefined || !("error" in wrong.error)) throw new Error("not refused");
console.log(wrong.error.error.code);
"""
WRONG = '\nawait client.POST("/v1/models/tiny:predict", { body: { instance: ["good film"] } });\n'
SETTINGS = {
    "compilerOptions": {
        "module": "nodenext",
        "target": "es2022",
        "strict": True,
        "types": ["node"],
        "skipLibCheck": True,
    },
    "files": ["program.ts"],
}


def test_two_thousand_calls_are_answered_as_documented(served: Served) -> None:
    seen = call_as_documented(served.server, openapi.served(served.server, "tiny"), 2_000)
    assert sum(seen.values()) >= 2_000
    assert min(seen[200], seen[422]) > 200


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A folder where node finds what makes and compiles a client."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed; scripts/tools node npm does it")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = cache / "bertserve-tests" / "-".join(each.replace("@", "-") for each in PACKAGES)
    with one_at_a_time(kept):  # it takes a while to fetch, so later runs find it
        if not (kept / "complete").exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            command = ["npm", "install", "--no-audit", "--no-fund", *PACKAGES, "@types/node@20"]
            done = subprocess.run(command, cwd=kept, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"npm cannot fetch {', '.join(PACKAGES)}: {done.stderr[-300:]}")
            (kept / "complete").touch()
    (tmp_path / "node_modules").symlink_to(kept / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "tsconfig.json").write_text(json.dumps(SETTINGS))
    return tmp_path


def test_a_client_that_is_generated_compiles_and_classifies(served: Served, node: Path) -> None:
    def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=node, env={**os.environ, **environment}, capture_output=True, text=True
        )

    (node / "api.json").write_text(json.dumps(openapi.served(served.server, "tiny")))
    made = run("node_modules/.bin/openapi-typescript", "api.json", "--output", "api.d.ts")
    assert made.returncode == 0, made.stderr
    (node / "program.ts").write_text(PROGRAM)
    compiled = run("node_modules/.bin/tsc")
    assert compiled.returncode == 0, compiled.stdout
    key = served.server.key("inference") or ""
    ran = run("node", "program.js", URL=served.server.addresses.inference, KEY=key)
    assert ran.returncode == 0, ran.stderr
    predictions, code = ran.stdout.splitlines()
    first, second = json.loads(predictions)
    with served.server.client("tiny") as client:
        assert first == client.classify("good film").probabilities
    assert (len(second), code) == (1, "invalid_value")
    (node / "program.ts").write_text(PROGRAM + WRONG)
    assert "'instance' does not exist" in run("node_modules/.bin/tsc").stdout
