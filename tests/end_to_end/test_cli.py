"""The commands as a user runs them: what they print, and how they fail."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny
from bertserve import Pair
from commands import run, run_on_a_terminal
from serving import PATIENCE, Served, environment


def test_package_and_inspect(model_dir: Path, tmp_path: Path) -> None:
    done = run("package", model_dir, "--name", "t", "--version", "1.0", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    archive = tmp_path / json.loads(done.stdout)["archive"]
    assert archive == tmp_path / "model_store" / "t-1.0.mar"
    shown = json.loads(run("inspect", archive, "--json").stdout)
    assert shown["sha256"] == json.loads(done.stdout)["sha256"]
    table = run("inspect", archive).stdout
    assert all(label in table for label in tiny.LABELS)
    assert "SHA256" not in table
    assert "model/model.safetensors" not in table
    assert "model/model.safetensors" in run("inspect", archive, "--files").stdout


def test_predict_prints_json_in_a_pipe(served: Served, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("from a file\n\nand one more\n")
    done = run(
        "predict", "tiny", "an argument", "-", "--file", tmp_path / "texts.txt",
        "--config", served.config, text="from stdin\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    texts = ["an argument", "from stdin", "from a file", "and one more"]
    assert [result["text"] for result in results] == texts
    for result in results:
        assert result["label"] == next(iter(result["probabilities"]))
        assert set(result["probabilities"]) == set(tiny.LABELS)


@pytest.mark.parametrize("way", [[], ["--grpc"]])
def test_predict_reads_and_writes_tables_of_any_length(
    way: list[str], served: Served, tmp_path: Path
) -> None:
    with (tmp_path / "texts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer"])
        writer.writerows([number, f"good {number}", "film"] for number in range(10_000))
    done = run(
        "predict", "tiny", "--file", tmp_path / "texts.csv", "--column", "question",
        "--keep", "id,answer", "--top-k", "1", "--output", "csv", "--config", served.config, *way,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert [row["text"] for row in rows] == [f"good {number}" for number in range(10_000)]
    assert [row["id"] for row in rows] == [str(number) for number in range(10_000)]
    assert {row["answer"] for row in rows} == {"film"}
    for row in rows:
        assert row[row["label"]] == row["probability"]
        assert sum(bool(row[label]) for label in tiny.LABELS) == 1


@pytest.mark.parametrize("output", ["csv", "tsv", "jsonl"])
def test_rows_without_a_text_have_an_error_in_their_place(
    output: str, served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    texts = [("good", "film"), (None, "a"), ("", "b"), ("bad", None), (7, "c"), ("slow", "song")]
    rows = [
        {"id": number, "label": "x", "q": text, "a": pair}
        for number, (text, pair) in enumerate(texts)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    done = run(
        "predict", "tiny", "--file", path, "--column", "q", "--pair-column", "a", "--keep", "id",
        "--keep", "label", "--output", output, "--config", served.config,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    found: list[dict[str, Any]]
    if output == "jsonl":
        found = [json.loads(line) for line in done.stdout.splitlines()]
        codes = [row.get("error", {}).get("code") for row in found]
    else:
        delimiter = "\t" if output == "tsv" else ","
        found = list(csv.DictReader(done.stdout.splitlines(), delimiter=delimiter))
        codes = [json.loads(row["error"])["code"] if row["error"] else None for row in found]
    assert [int(row["id"]) for row in found] == [*range(6)]
    assert {row["input_label"] for row in found} == {"x"}
    assert codes == [None, "missing_text", "empty_text", "missing_text", "invalid_type", None]
    with served.server.client("tiny") as client:
        expected = client.classify(Pair("slow", "song")).probabilities
    if output != "jsonl":
        assert {label: float(found[5][label]) for label in tiny.LABELS} == dict(expected)
    shown = run_on_a_terminal(
        "predict",
        "tiny",
        "--file",
        path,
        "--column",
        "q",
        "--keep",
        "id",
        "--config",
        served.config,
    )
    assert "there is no text in q, but a number" in shown
    head, *lines = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert head.split()[:2] == ["id", "text"]
    assert [line[0] for line in lines if line[:1].isdigit()] == [*"012345"]


def test_a_spreadsheet_runs_nothing(served: Served) -> None:
    options = ("--output", "csv", "--config", served.config)
    plain, escaped = (
        list(csv.DictReader(run("predict", "tiny", "=1+1", *more, *options).stdout.splitlines()))
        for more in ([], ["--escape-formulas"])
    )
    assert (plain[0]["text"], escaped[0]["text"]) == ("=1+1", "'=1+1")
    done = run("predict", "tiny", "x", "--escape-formulas", "--config", served.config)
    assert (
        done.stderr
        == "Error: --escape-formulas is for spreadsheets; give --output csv or tsv too\n"
    )


@pytest.mark.parametrize("way", [[], ["--grpc"]])
def test_texts_are_read_and_answered_as_asked(way: list[str], served: Served) -> None:
    long = "the service was slow and the food was cold " * 20
    arguments = ["predict", "tiny", long, "--details", "--config", str(served.config), *way]

    def tell(*options: str) -> dict[str, Any]:
        return dict(json.loads(run(*arguments, *options).stdout)[0])

    assert (tell()["tokens"], tell("--max-length", "9")["tokens"]) == (64, 9)
    chunks = tell("--long-text", "chunks")
    assert chunks["chunks"] > 1
    assert not chunks["truncated"]
    assert tell("--long-text", "error")["error"]["code"] == "text_too_long"
    assert tell("--uncalibrated")["calibrated"] is False


def test_predict_writes_lines_as_they_come_and_stops_when_nobody_reads(
    served: Served, tmp_path: Path
) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("good film\n" * 200_000)
    command = [sys.executable, "-m", "bertserve", "predict", "tiny", "--file", str(path)]
    command += ["--output", "jsonl", "--config", str(served.config)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["label"] in tiny.LABELS
        process.stdout.close()
        assert process.wait(timeout=PATIENCE) == 1
        assert process.stderr.read() == ""


def test_predict_classifies_pairs_with_details(served: Served) -> None:
    arguments = ["predict", "tiny", "good", "bad", "--pair", "film", "--pair", "song"]
    done = run(*arguments, "--details", "--output", "jsonl", "--config", served.config)
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["text"], first["text_pair"], second["text_pair"]) == ("good", "film", "song")
    assert (first["version"], first["truncated"]) == ("1.0", False)
    assert set(first["logits"]) == set(tiny.LABELS)
    shown = run_on_a_terminal(*arguments, "--details", "--config", served.config)
    assert "good ¦ film" in shown
    assert f"tiny 1.0, {first['tokens']} tokens" in shown


def test_predict_prints_a_table_with_bars_on_a_terminal(served: Served) -> None:
    shown = run_on_a_terminal(
        "predict",
        "tiny",
        "a [b]bold[/b] text",
        r"see \[/x]",
        "--config",
        served.config,
        "--version",
        "1.0",
    )
    assert "a [b]bold[/b] text" in shown
    assert r"see \[/x]" in shown
    assert "█" in shown
    assert all(label in shown for label in tiny.LABELS)


def test_a_text_that_is_refused_is_shown_in_its_place(served: Served) -> None:
    done = run("predict", "tiny", "good", " ", "--config", served.config)
    assert done.returncode == 1
    good, bad = json.loads(done.stdout)
    assert good["label"] in tiny.LABELS
    assert bad["error"]["code"] == "empty_text"


def test_explain_shows_which_words_carried_a_prediction(served: Served, tmp_path: Path) -> None:
    arguments = ["explain", "tiny", "The service was slow", "--config", str(served.config)]
    found = json.loads(run(*arguments, "--label", "neutral", "--max-length", "5").stdout)
    assert (found["label"], found["tokens"], found["truncated"]) == ("neutral", 5, True)
    assert [word["word"] for word in found["words"]] == ["The", "service", "was"]
    page = tmp_path / "why.html"
    shown = run_on_a_terminal(*arguments, "--grpc", "--pair", "but great", "--html", page)
    for expected in ("slow", "but", "adds to the logit", "text_pair", "tiny 1.0, 9 tokens"):
        assert expected in shown
    assert 'class="word ' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--label", "x"), 'it has "positive", "negative", "neutral"'),
        (("--max-length", "2"), "this model reads 3 to 64 tokens"),
        (("--html", "nowhere/why.html"), "nowhere/why.html"),
    ],
)
def test_explanations_that_cannot_be(
    served: Served, arguments: tuple[str, ...], message: str
) -> None:
    done = run("explain", "tiny", "good film", *arguments, "--config", served.config)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_status_gives_a_program_all_it_needs(served: Served) -> None:
    done = run("status", "--json", "--config", served.config)
    found = json.loads(done.stdout)
    assert found["running"] is True
    assert list(found) == [
        "running", "pid", "inference", "management", "metrics", "health", "grpc_inference",
        "grpc_management", "key_file", "logs", "models",
    ]  # fmt: skip
    assert Path(found["key_file"]).exists()
    assert {model["name"] for model in found["models"]} >= {"tiny"}
    assert list(found["models"][0]) == ["name", "version", "default", "state", "workers"]
    assert "READY" in run("status", "--config", served.config).stdout


def test_status_without_a_server(tmp_path: Path) -> None:
    (tmp_path / "config.properties").write_text("")
    done = run("status", "--json", "--config", tmp_path / "config.properties")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"running": False})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("package", "nowhere", "--name", "t", "--version", "1"), "nowhere is no folder"),
        (("package", ".", "--name", "a b", "--version", "1"), "name 'a b' will not do"),
        (("package", ".", "--name", "t", "--version", "1", "--precision", "int3"), "precision"),
        (("inspect", "missing.mar"), "missing.mar does not exist"),
        (("serve", "--config", "missing.properties"), "cannot be read"),
        (("serve", "--model-store", "nowhere"), "holds no archive"),
        (("stop", "--config", "none.properties"), "no server is running"),
        (("predict", "tiny", "x", "--config", "none.properties"), "no server is running"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "unknown", "x"), "Model not found: unknown"),
        (("predict", "tiny"), "there is no text"),
        (("predict", "tiny", "ab\udcff"), "the texts are not UTF-8"),
        (("predict", "tiny", "--file", "missing.txt"), "missing.txt cannot be read"),
        (("predict", "tiny", "x", "--version", "9"), "9"),
        (("predict", "tiny", "x", "--version", "9", "--grpc"), "9"),
        (("predict", "tiny", "x", "y", "--pair", "z"), "there are 2 texts and 1 --pair"),
        (("predict", "tiny", "x", "--column", "text"), "need --file"),
        (("predict", "tiny", "x", "--top-k", "0"), "out of range"),
        (("predict", "tiny", "x", "--keep", "id"), "--keep need --file"),
        (("predict", "tiny", "x", "--long-text", "cut"), "one of truncate, error, chunks"),
        (("predict", "tiny", "x", "--max-length", "0"), "out of range"),
    ],
)
def test_predictions_that_cannot_be(
    served: Served, arguments: tuple[str, ...], message: str
) -> None:
    done = run(*arguments, "--config", served.config)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_shell_completes_commands_once_that_is_installed(tmp_path: Path) -> None:
    """As bash does: it asks the function that its configuration has for what was typed."""
    program = Path(sys.executable).with_name("bertserve")
    if not program.exists():
        pytest.skip("bertserve is run from its source here")
    own = {**environment(), "HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def bash(*lines: str) -> str:
        script = "; ".join([*lines, "true"])  # a shell with one command only would become that
        done = subprocess.run(
            ["bash", "-c", script], env=own, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    assert "bash completion installed" in bash("bertserve --install-completion")
    typed = (
        "COMP_WORDS=({}); COMP_CWORD={}; _bertserve_completion bertserve; echo ${{COMPREPLY[@]}}"
    )
    begin = "source ~/.bashrc"
    assert bash(begin, typed.format("bertserve pre", 1)).split() == ["predict"]
    assert "set-default" in bash(begin, typed.format("bertserve models se", 2)).split()
    assert "--keep" in bash(begin, typed.format("bertserve predict --ke", 2)).split()


def test_the_version_is_said() -> None:
    assert run("--version").stdout.split()[0] == "bertserve"


def test_the_commands_start_fast_enough_to_be_pleasant() -> None:
    """No command that needs no model loads torch: that alone takes seconds."""
    check = "import sys, bertserve.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], env=environment(), check=True)
