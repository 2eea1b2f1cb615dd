"""The pages' commands and examples, executed as they stand, in a fresh checkout and environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import tiny
from bertserve.clients.keys import bearer
from documents import Example, blocks, examples, shape
from serving import PATIENCE, ROOT, Served, environment, write_config


@pytest.fixture(scope="module")
def stubs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the page's stubs are made, as in a checkout."""
    folder = tmp_path_factory.mktemp("stubs")
    (folder / "bertserve").symlink_to(ROOT / "bertserve")
    for code in blocks("docs/wire.md", "prepare"):
        python = code.replace("python ", f"{sys.executable} ", 1)
        subprocess.run(["bash", "-euc", python], cwd=folder, check=True)
    return folder


@pytest.mark.parametrize(
    "example", examples("docs/wire.md"), ids=lambda example: example.code.split("\n")[0]
)
def test_an_example_of_the_wire_is_answered_as_the_page_says(
    served: Served, stubs_folder: Path, example: Example
) -> None:
    addresses = served.server.addresses
    code = re.sub(
        r"(models/|predictions/|explanations/|model_name=\W?)support", r"\1tiny", example.code
    )
    code = code.replace('"label": "track_order"', f'"label": "{tiny.LABELS[0]}"')
    code = code.replace("http://127.0.0.1:8080", addresses.inference)
    code = code.replace("127.0.0.1:7070", addresses.grpc_inference)
    if example.language == "http":
        head, body = code.rstrip("\n").split("\n\n", 1)
        line, *headers = head.splitlines()
        response = httpx.post(
            addresses.inference + line.removeprefix("POST "),
            content=body.encode(),
            headers={
                **dict(header.split(": ") for header in headers),
                **bearer(served.server.key("inference")),
            },
            timeout=PATIENCE,
        )
        assert response.status_code == example.status
        answer = response.json()
    else:
        program = {"bash": ["bash", "-euc"], "python": [sys.executable, "-c"]}[example.language]
        own = {**environment(), "KEY": served.server.key("inference") or ""}
        own.pop("HF_HUB_OFFLINE", None)  # it keeps Hugging Face's client from calling any server
        done = subprocess.run(
            [*program, code],
            cwd=stubs_folder,
            env=own,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
    assert shape(answer) == shape(example.answer)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git tracks, or would, with free ports in its config.properties."""
    target = tmp_path_factory.mktemp("checkout") / "bertserve"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    write_config(target)
    return target


@pytest.fixture(scope="module")
def shell(checkout: Path) -> Iterator[dict[str, str]]:
    """The environment of a user who has nothing but Python, and later what the quickstart made."""
    here = str(ROOT / ".venv" / "bin")
    path = [part for part in os.environ["PATH"].split(os.pathsep) if part != here]
    user = {
        **environment(),
        "PATH": os.pathsep.join([str(checkout / ".venv" / "bin"), *path]),
        "XDG_STATE_HOME": str(checkout.parent / "state"),
    }
    user.pop("VIRTUAL_ENV", None)
    yield user
    subprocess.run(["bertserve", "stop"], cwd=checkout, env=user, check=False, capture_output=True)


def run(code: str, checkout: Path, shell: dict[str, str], program: str = "bash") -> str:
    command = (
        [program, "-euo", "pipefail", "-c", code] if program == "bash" else [program, "-c", code]
    )
    done = subprocess.run(
        command, cwd=checkout, env=shell, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_from_nothing_to_answers(checkout: Path, shell: dict[str, str]) -> None:
    quickstart, _ = (line for line in readme_commands() if line.startswith("scripts/"))
    first = run(quickstart, checkout, shell)
    assert "accuracy on 250 held-out requests" in first
    assert '"label": "track_order"' in first
    second = run(quickstart, checkout, shell)  # reuses what is there
    assert "fine-tuning" not in second
    assert '"label": "track_order"' in second

    (everyday,) = blocks("README.md", "executed: everyday")
    assert '"label": "refund_status"' in run(everyday, checkout, shell)
    (python,) = blocks("README.md", "executed: python")
    assert run(python, checkout, shell, "python3").startswith("track_order 0.")
    client, alike = (
        blocks("docs/clients.md", f"executed: {mark}")[0] for mark in ("client", "async")
    )
    first, *several = run(client, checkout, shell, "python3").splitlines()
    assert first == "track_order"
    assert several[0].startswith("refund_status 0.")
    assert run(alike, checkout, shell, "python3") == "track_order\n"
    (predict,) = blocks("docs/clients.md", "executed: predict")
    assert '"label": "refund_status"' in run(predict, checkout, shell)
    (curl,) = blocks("README.md", "executed: curl")
    inference = json.loads(run("bertserve status --json", checkout, shell))["inference"]
    maps = json.loads(run(curl.replace("http://127.0.0.1:8080", inference), checkout, shell))
    assert [next(iter(map_)) for map_ in maps] == ["track_order", "refund_status"]

    run("bertserve stop", checkout, shell)
    for page in ("docs/packaging.md", "docs/serving.md"):
        for code in blocks(page, "executed"):
            run(code, checkout, shell)


def test_the_walk_through_a_rollout_and_a_rollback(checkout: Path, shell: dict[str, str]) -> None:
    for archive in (checkout / "model_store").glob("*.mar"):
        if archive.name != "support-1.0.mar":
            archive.unlink()
    run("bertserve serve", checkout, shell)
    steps = blocks("docs/versions.md", "executed: walk")
    outputs = blocks("docs/versions.md", "output")
    for code, output in zip(steps, outputs, strict=True):
        assert without_numbers(run(code, checkout, shell)) == without_numbers(output)
    run("bertserve stop", checkout, shell)


def test_the_walk_from_a_folder_to_decisions(checkout: Path, shell: dict[str, str]) -> None:
    (walk,) = blocks("docs/probabilities.md", "executed: walk")
    # its libraries are in the tests' own environment
    tools = {**shell, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{shell['PATH']}"}
    printed = run(walk, checkout, tools)
    assert "calibrated demo/support by temperature" in printed
    assert "125 texts" in printed
    assert "threshold" in printed
    assert (checkout / "report.html").stat().st_size > 50_000


def without_numbers(printed: str) -> list[str]:
    """The lines of an output without figures and the spaces that they take; of labels that there are.

    Nor with a precision: which one `auto` takes is a matter of the CPU.
    """
    lines = [" ".join(line.split()) for line in printed.strip().splitlines()]
    plain = [re.sub(r"\bb?float\d+|\d[\d.,]*(e-\d+)?", "N", line) for line in lines]
    return list(dict.fromkeys("label" if line.startswith("label ") else line for line in plain))


def test_the_quickstart_serves_a_user_s_own_model(
    checkout: Path, shell: dict[str, str], model_dir: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(model_dir, tmp_path / "My own model!")
    printed = run(f"scripts/quickstart '{own}'", checkout, shell)
    assert "bertserve predict My-own-model- " in printed
    assert '"label": ' in printed
    run("bertserve stop", checkout, shell)


def test_a_model_that_does_not_exist_is_one_sentence(checkout: Path, shell: dict[str, str]) -> None:
    done = subprocess.run(
        ["scripts/quickstart", "nobody/nothing"],
        cwd=checkout, env=shell, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert (
        "Error: nobody/nothing is neither a folder nor a model that the hub gives out"
        in done.stderr
    )
    assert "Traceback" not in done.stderr


def readme_commands() -> list[str]:
    """The README's two commands: its blocks of one line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = [block.strip() for block in text.split("```")[1::2]]
    lines = [block.removeprefix("bash\n") for block in found if block.startswith("bash\nscripts/")]
    assert lines == ["scripts/quickstart", "scripts/test"]
    return lines
