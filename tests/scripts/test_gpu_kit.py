"""The kit that proves the GPU path, where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from gpu_kit import checks, pack, served, table
from gpu_kit.checks import Check, Found, Impossible, Wrong
from serving import ROOT, environment

CPU = torch.device("cpu")
KIT = str(ROOT / "scripts" / "gpu")


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [KIT, *arguments]
    wanted = {**environment(), "PYTHON": sys.executable, **variables}
    return subprocess.run(command, env=wanted, capture_output=True, text=True, check=False)


def test_a_machine_without_a_gpu_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert table.run_all(Namespace(cpu=False)) == 2
    said = capsys.readouterr().err
    assert "sees no GPU here" in said
    assert "--cpu" in said


def test_when_the_time_is_over_the_rest_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the signals of the tests stay theirs
    file = tmp_path / "gpu.json"
    options = Namespace(cpu=True, parts=["fast"], minutes=0, json=file, model=None)
    assert table.run_all(options) == 0
    rows = json.loads(file.read_text())["checks"]
    assert {(row["outcome"], row["text"]) for row in rows} == {("skipped", "the time is over")}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nowhere"], "nowhere is no model's folder"),
        (["--json", "nowhere/gpu.json"], "nowhere/gpu.json cannot be written"),
        (["--json", str(ROOT)], "cannot be written"),
        (["--pack", "README.md"], "README.md is no empty folder"),
        (["--pack", "parcel", "--model", "nowhere"], "nowhere is no model's folder"),
    ],
)
def test_what_cannot_be_is_said_before_anything_begins(arguments: list[str], says: str) -> None:
    done = subprocess.run(
        [KIT, "--cpu", *arguments],
        cwd=ROOT,
        env={**environment(), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_answers_of_other_texts_are_not_taken_for_the_same() -> None:
    answers = [{"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}, {"a": 0.6, "b": 0.4}]
    near = [{"a": 0.91, "b": 0.09}, *answers[1:]]
    served.refuse_other_answers({"gRPC": served.shift(answers, near)}, answers)
    swapped = served.shift(answers, [answers[1], answers[0], answers[2]])
    with pytest.raises(Wrong, match="probabilities differ"):
        served.refuse_other_answers({"gRPC": swapped}, answers)


def succeed() -> Found:
    return Found("well")


def fail() -> Found:
    raise Wrong("two and two is five")


def lack() -> Found:
    raise Impossible("there is no second GPU")


def break_off() -> Found:
    raise ValueError("a\nb")


def lose() -> Found:
    raise torch.AcceleratorError("device-side assert")


def test_a_check_that_fails_does_not_keep_others_from_running() -> None:
    rows = [checks.run("part", Check("name", each)) for each in (fail, lack, break_off)]
    assert [row.outcome for row in rows] == ["WRONG", "skipped", "WRONG"]
    assert rows[0].text == "two and two is five"
    assert rows[2].text.startswith("ValueError at test_gpu_kit.py:")
    assert rows[2].text.endswith(": a b")
    assert "break_off" in rows[2].figures["traceback"]


def test_a_gpu_that_is_lost_is_lost_to_the_process() -> None:
    with pytest.raises(torch.AcceleratorError):
        checks.run("part", Check("name", lose))


def test_the_checks_after_one_that_lost_the_gpu_run_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "gpu.json"
    options = Namespace(model=None, json=file, minutes=1, parts=["fast"])
    statuses = iter([70, 0])

    def process(command: list[str]) -> int:
        first = int(command[-1])
        record = table.Record(tmp_path / "rows.jsonl", file, CPU)
        for number in range(first, 3 if first else 1):
            record.add(checks.run("fast", Check(f"check {number}", succeed)))
        return next(statuses)

    named = [("fast", Check(f"check {number}", fail)) for number in range(3)]
    monkeypatch.setattr(table, "_named", lambda *_: iter(named))
    monkeypatch.setattr(table, "_wait", process)
    table._run(options, CPU, tmp_path / "rows.jsonl")
    rows = table._read(tmp_path / "rows.jsonl")
    assert [(row.name, row.outcome, row.text) for row in rows] == [
        ("check 0", "ok", "well"),
        ("check 1", "WRONG", "the GPU is lost, status 70"),
        ("check 2", "ok", "well"),
    ]
    assert [row["name"] for row in json.loads(file.read_text())["checks"]] == [
        "check 0",
        "check 1",
        "check 2",
    ]


def test_files_are_packed_in_parts_of_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "PART", 10)
    files = []
    for name, size in {"a": 6, "b": 5, "c": 4, "d": 12, "e": 1}.items():
        (tmp_path / name).write_bytes(bytes(size))
        files.append((tmp_path / name, Path(name)))
    parts = [{place.name for _, place in part} for part in pack.in_parts(files)]
    assert parts == [{"d"}, {"a", "c"}, {"b", "e"}]


def test_what_was_packed_is_used_in_a_fresh_environment(tmp_path: Path) -> None:
    part = tmp_path / "pack" / "part-1"
    (part / "model").mkdir(parents=True)
    (part / "model" / "config.json").write_text("{}")
    _write_wheel(part, "carried_along")
    venv.create(tmp_path / "machine", system_site_packages=True, symlinks=True)
    python = tmp_path / "machine" / "bin" / "python"
    own = next(path for path in sys.path if path.endswith("site-packages"))
    site = next((tmp_path / "machine").glob("lib/python3*/site-packages"))
    (site / "torch.pth").write_text(own)
    code = (
        "import sys; from pathlib import Path; from gpu_kit.pack import unpack; "
        f"print(unpack(Path({str(tmp_path / 'pack')!r}))); import carried_along"
    )
    paths = os.pathsep.join(map(str, (ROOT / "scripts", ROOT)))
    first = subprocess.run(
        [python, "-c", code.replace("import carried_along", "")],
        env={**environment(), "PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    made = tmp_path / "pack" / "environment"
    assert (made / "bin" / "python").exists(), first.stderr
    second = subprocess.run(
        [made / "bin" / "python", "-c", code],
        env={**environment(), "PYTHONPATH": paths},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert second.returncode == 0, first.stderr + second.stderr
    assert second.stdout.strip() == str((made / "model").resolve())


def _write_wheel(folder: Path, name: str) -> None:
    import zipfile

    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"SINCE = {time.time()}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_an_empty_folder_is_no_pack(tmp_path: Path) -> None:
    done = run("--from", str(tmp_path))
    assert done.returncode == 1
    assert "holds no part-1" in done.stderr
