"""evaluate and calibrate as a user runs them: what they print, and how they fail."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from commands import run, run_on_a_terminal
from serving import Served, environment

TEXTS = [f"{first} {second}" for first in tiny.WORDS[:8] for second in tiny.WORDS[10:18]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.csv"
    rows = (f"{text},{tiny.LABELS[number % 3]}" for number, text in enumerate(TEXTS))
    path.write_text("text,label\n" + "\n".join(rows))
    return path


def failure(*arguments: object) -> str:
    """The one sentence on standard error."""
    done = run(*map(str, arguments))
    assert done.returncode == 1, done.stdout
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_an_evaluation_on_a_terminal(served: Served, data: Path, tmp_path: Path) -> None:
    printed = run_on_a_terminal(
        "evaluate", "tiny", "--data", data, "--worst", "2",
        "--html", tmp_path / "report.html", "--config", served.config,
    )  # fmt: skip
    for words in (
        "64 texts", "accuracy", "macro F1", "ECE, bins of equal width", "negative log likelihood",
        "weakest labels", "scoring with tiny 1.0", "64/64", "ROC AUC", "average precision",
        'always "positive", the most frequent label: accuracy 0.3438',
    ):  # fmt: skip
        assert words in printed
    assert sum(text in printed for text in TEXTS) == 2
    assert (tmp_path / "report.html").exists()
    again = failure(
        "evaluate", "tiny", "--data", data, "--compare", "tiny@1.0", "--config", served.config
    )
    assert "tiny 1.0 would be compared with itself" in again


def test_a_calibration_on_a_terminal(model_dir: Path, data: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_dir, tmp_path / "model")
    all_tried = run_on_a_terminal("calibrate", folder, "--data", data, "--method", "all")
    for words in ("method", "none", "temperature", "vector", "is taken", "negative log likelihood"):
        assert words in all_tried
    calibrated = ("calibrate", folder, "--data", data, "--target-coverage", "0.5")
    printed = run_on_a_terminal(*calibrated)
    for words in ("by temperature", "before", "5-fold cross-validation", "threshold", "for 95%"):
        assert words in printed
    archive = tmp_path / "t-1.mar"
    packaged = run("package", folder, "--name", "t", "--version", "1", "--output", tmp_path)
    assert packaged.returncode == 0, packaged.stderr
    assert "temperature, on 64 texts of labelled.csv" in run("inspect", archive).stdout
    evaluated = run("evaluate", archive, "--data", data, "--json")
    assert "was calibrated on these very texts" in evaluated.stderr.replace("\n", " ")
    found = json.loads(evaluated.stdout)
    assert found["data"]["calibrated_on_it"]
    assert 0 < found["decisions"]["threshold"]["coverage"] < 1
    assert "worst" not in found
    plain, short = (
        json.loads(run("evaluate", archive, "--data", data, "--json", *options).stdout)
        for options in (["--uncalibrated"], ["--max-length", "3", "--long-text", "truncate"])
    )
    assert not plain["data"]["calibrated_on_it"]
    assert (plain["decisions"], plain["model"]["options"]) == ({}, {"calibrated": False})
    assert plain["accuracy"] == found["accuracy"]  # a temperature changes no label
    assert plain["nll"] != found["nll"]
    assert short["nll"] != found["nll"]  # an accuracy may be the same by chance
    assert short["decisions"]["threshold"]["level"] == found["decisions"]["threshold"]["level"]
    assert not any(text in evaluated.stdout for text in TEXTS)


def test_mistakes_are_one_sentence(
    served: Served, model_dir: Path, data: Path, tmp_path: Path
) -> None:
    config = ("--config", served.config)
    missing = tmp_path / "none.csv"
    assert "none.csv cannot be read" in failure("evaluate", "tiny", "--data", missing, *config)
    assert "no such model" in failure("evaluate", "nobody", "--data", data, *config)
    assert "none.mar does not exist" in failure("evaluate", "none.mar", "--data", data)
    assert "is no archive" in failure("evaluate", data, "--data", data)
    column = failure("evaluate", "tiny", "--data", data, "--column", "body", *config)
    assert "choose with --column" in column
    long = failure("evaluate", "tiny", "--data", data, "--max-length", "500", *config)
    assert "reads 3 to 64 tokens" in long
    assert "one of truncate, error, chunks" in failure(
        "evaluate", "tiny", "--data", data, "--long-text", "cut", *config
    )
    assert "is no folder" in failure("calibrate", tmp_path / "x", "--data", data)
    assert "known are temperature" in failure(
        "calibrate", model_dir, "--data", data, "--method", "magic"
    )
    assert "handler.long_text is 'cut'" in failure(
        "calibrate", model_dir, "--data", data, "--long-text", "cut"
    )


@pytest.mark.parametrize(
    ("library", "command"),
    [("sklearn", "evaluate"), ("scipy", "calibrate"), ("jinja2", "evaluate")],
)
def test_an_extra_that_is_not_installed_is_named(
    library: str, command: str, data: Path, model_dir: Path, served: Served, tmp_path: Path
) -> None:
    what = "tiny" if command == "evaluate" else str(model_dir)
    options = ["--config", str(served.config), "--html", str(tmp_path / "r.html")]
    arguments = [command, what, "--data", str(data), *(options if command == "evaluate" else [])]
    code = (
        f"import sys; sys.modules[{library!r}] = None; from bertserve.cli import main; "
        f"sys.argv = ['bertserve', *{arguments!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "install it with `pip install 'bertserve[evaluate]'`" in done.stderr
    assert "Traceback" not in done.stderr
