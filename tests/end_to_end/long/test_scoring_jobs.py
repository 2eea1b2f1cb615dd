"""Tables are scored by real processes: whole, once, and as the handler does, whatever happens."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from pyarrow import dataset, fs, parquet
from tables import ROWS, begin, files, make_archive, make_table, read, score, text

from bertserve.errors import ConfigError
from bertserve.score import Columns, Job, Options, Scorer, run_here
from commands import run
from documents import blocks
from serving import PATIENCE, environment, wait_until


@pytest.fixture(scope="module")
def archive(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_archive(model_dir, tmp_path_factory)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return make_table()


@pytest.fixture(scope="module")
def made(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files, of two sorts."""
    folder = tmp_path_factory.mktemp("made") / "data"
    folder.mkdir()
    for number in range(4):
        part = table.slice(number * ROWS // 4, ROWS // 4)
        if number % 2:
            parquet.write_table(part, folder / f"{number}.parquet", row_group_size=400)
        else:
            lines = "".join(json.dumps(row) + "\n" for row in part.to_pylist())
            (folder / f"{number}.jsonl").write_text(lines)
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    """A copy of them, which a test may change."""
    return shutil.copytree(made, tmp_path / "data")


@pytest.fixture(scope="module", autouse=True)
def _small_parts() -> Iterator[None]:
    """So that a job of a few thousand rows has many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bertserve.score.job._FEWEST", 200)
        # each more takes two processes and the time in which they load
        patch.setattr("bertserve.score.local.usual_workers", lambda: 1)
        yield


@pytest.fixture(scope="module")
def right(archive: Path, table: pa.Table) -> dict[int, list[float]]:
    """What a Scorer says of each row, in one process and one table."""
    with Scorer(archive, "body") as scorer:
        scored = scorer(table)
    return dict(zip(scored["id"].to_pylist(), scored["probabilities"].to_pylist(), strict=True))


def test_every_format_comes_to_the_same(
    archive: Path, table: pa.Table, tmp_path: Path, right: dict[int, list[float]]
) -> None:
    part = table.slice(0, 500)
    rows = part.to_pylist()
    parquet.write_table(part, tmp_path / "a.parquet")
    with (tmp_path / "b.csv").open("w", newline="") as file:
        csv.DictWriter(file, ["id", "body"]).writerows([{"id": "id", "body": "body"}, *rows])
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (tmp_path / "c.jsonl").write_bytes(lines)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(lines))
    with pa.CompressedOutputStream(str(tmp_path / "e.jsonl.zst"), "zstd") as stream:
        stream.write(lines)
    for name in ("a.parquet", "b.csv", "c.jsonl", "d.jsonl.gz", "e.jsonl.zst"):
        score(archive, tmp_path / name, tmp_path / name.replace(".", "-"))
        found = read(tmp_path / name.replace(".", "-"))
        assert found["id"].cast(pa.int64()).to_pylist() == list(range(500))
        assert found["probabilities"].to_pylist() == [right[number] for number in range(500)]
    for form in ("csv", "jsonl"):
        score(archive, tmp_path / "a.parquet", tmp_path / form, form=form)
    written, *_ = files(tmp_path / "jsonl").values()
    first = json.loads(written.splitlines()[0])
    assert first["probabilities"] == pytest.approx(right[0], abs=1e-7)
    written, *_ = files(tmp_path / "csv").values()
    row = next(csv.DictReader(written.decode().splitlines()))
    assert [float(row[label]) for label in ("positive", "negative", "neutral")] == pytest.approx(
        right[0], abs=1e-7
    )


def test_what_is_missing_is_done_and_nothing_else(
    archive: Path, data: Path, tmp_path: Path
) -> None:
    job = score(archive, data, tmp_path / "out")
    assert len(job.parts) > 20
    before = files(tmp_path / "out")
    found = read(tmp_path / "out")
    assert found["id"].to_pylist() == list(range(ROWS))
    assert job.summary().rows == ROWS
    for name in list(before)[::5]:
        (tmp_path / "out" / name).unlink()
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = begin(archive, data, tmp_path / "out")
    missing = again.missing()
    assert len(missing) == len(list(before)[::5])
    assert {done.part for done in run_here(again, missing, workers=2)} == set(missing)
    assert files(tmp_path / "out") == before
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert kept.items() >= {**written, "_bertserve": kept["_bertserve"]}.items()


def test_another_job_is_refused(archive: Path, data: Path, tmp_path: Path) -> None:
    score(archive, data / "0.jsonl", tmp_path / "out")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"columns": Columns("body")}, "--keep was id and is nothing"),
        ({"wide": True}, "--wide was False and is True"),
        ({"options": Options(max_length=9)}, "--max-length was not given and is 9"),
    ]
    for options, said in wrong:
        with pytest.raises(ConfigError, match=said):
            begin(archive, data, tmp_path / "out", **options)
    with pytest.raises(ConfigError, match="the folder of the data was"):
        begin(archive, tmp_path, tmp_path / "out")
    with (data / "0.jsonl").open("a") as file:
        file.write('{"id": 6000, "body": "one more"}\n')
    with pytest.raises(ConfigError, match=r"0.jsonl is no more what it was"):
        begin(archive, data / "0.jsonl", tmp_path / "out")
    # further files are no other job
    assert {
        part.name for part in begin(archive, data / "1.parquet", tmp_path / "out").missing()
    } == {"1.parquet"}


def test_the_command(archive: Path, data: Path, tmp_path: Path) -> None:
    (data / "broken.parquet").write_bytes(b"nothing of the kind")
    (data / "2.jsonl").write_text('{"id": 1, "body": "good"}\n{"id": 2, "body": ""}\nnothing\n')
    asked: list[str | Path] = [
        "score",
        archive,
        data,
        "--column",
        "body",
        "--keep",
        "id",
        "--to",
        tmp_path / "out",
    ]
    planned = run(*asked, "--dry-run", "--json")
    assert planned.returncode == 0, planned.stderr
    plan = json.loads(planned.stdout)
    assert (plan["rows"], plan["machines_for_an_hour"]) == (ROWS * 3 // 4 + 3, 1)
    assert not (tmp_path / "out").exists()
    for shard in ("1/2", "2/2"):
        done = run(*asked, "--json", "--shard", shard)
        assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["rows"], found["failed"]) == (plan["rows"], 2)
    assert found["errors"] == {"empty_text": 1, "invalid_json": 1}
    assert ["broken.parquet" in problem for problem in found["unreadable"]] == [True]
    (data / "broken.parquet").unlink()
    (data / "2.jsonl").unlink()
    shown = run(*asked)
    assert shown.returncode == 0, shown.stderr
    assert f"{ROWS * 3 // 4:,} rows, 0 with an error" in shown.stdout
    for wrong, said in [
        (["--shard", "3/2"], "--shard 3/2 is none"),
        (["--column", "nothing"], "--column was body and is nothing"),
        (["--output", "xlsx"], "xlsx is no format"),
    ]:
        refused = run(*asked, *wrong)
        assert refused.returncode == 1
        assert said in " ".join(refused.stderr.split())


def engines() -> list[psutil.Process]:
    """The processes that classify, of this process and of what it started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "classify" in process.cmdline() and "engine.py" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def undisturbed(archive: Path, made: Path) -> dict[str, bytes]:
    """The results of a job that nothing happened to."""
    job = begin(archive, made, made.parent / "undisturbed")
    assert not [done for done in run_here(job, job.missing(), workers=2) if done.problem]
    return files(made.parent / "undisturbed")


def test_a_process_that_computes_is_killed(
    archive: Path, data: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    broken = bytearray((data / "1.parquet").read_bytes())
    broken[8:400] = bytes(392)  # pages, and not what stands at the end
    (data / "-.parquet").write_bytes(broken)  # the first file, which is read before the others
    job = begin(archive, data, tmp_path / "out")
    lost = [part for part in job.parts if part.path.endswith("/-.parquet")]
    killed = 0
    problems = []
    for number, done in enumerate(run_here(job, job.missing(), workers=1)):
        if done.problem:
            problems.append(done.part)
        if number in (1, 8):
            for engine in engines():
                engine.kill()
                killed += 1
    assert killed == 2
    assert problems
    assert problems == job.missing()
    assert set(problems) <= set(lost)
    found = files(tmp_path / "out").items()
    assert {name: each for name, each in found if not name.startswith("-.")} == undisturbed


def test_a_text_that_kills_every_process_stops_nobody_else(
    archive: Path, data: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    job = begin(archive, data, tmp_path / "out")
    ended = threading.Event()
    fatal = job.parts[3]
    original = Scorer.scored

    def scored(self: Scorer, tables: Any) -> Any:
        """Kill what computes when it is at that part."""
        for table in original(self, tables):
            if table["id"][0].as_py() == fatal.first and not ended.is_set():
                for engine in engines():
                    engine.kill()
                self.close()
                from bertserve.score.processes import Died

                raise Died("it died")
            yield table

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "scored", scored)
        outcomes = list(run_here(job, job.missing(), workers=1))
    problems = [done.problem for done in outcomes if done.problem]
    assert problems == ["it died"]
    assert job.missing() == [fatal]
    assert [done.part for done in run_here(job, job.missing())] == [fatal]
    assert files(tmp_path / "out") == undisturbed


def test_the_whole_command_is_killed(
    archive: Path, data: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    command = [sys.executable, "-c", _SMALL, "score", str(archive), str(data)]
    command += ["--column", "body", "--keep", "id", "--to", str(tmp_path / "out")]
    out = tmp_path / "out"
    for wanted in (2, 9):
        with subprocess.Popen(command, env=environment()) as process:
            wait_until(partial(_has, out, wanted))
            below = psutil.Process(process.pid).children(recursive=True)
            process.kill()
        _, alive = psutil.wait_procs(below, PATIENCE)
        assert not alive
    assert len(files(out)) < len(undisturbed)
    done = subprocess.run(command, env=environment(), check=False)
    assert done.returncode == 0
    assert files(out) == undisturbed


def _has(out: Path, wanted: int) -> bool:
    return out.exists() and len(files(out)) >= wanted


_SMALL = """
from bertserve.score import job
job._FEWEST = 200
from bertserve.cli import main
main()
"""


_FULL = (
    """
import resource, signal
from bertserve.score import files, job
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
write_table, written = job.write_table, []
def write(file, table, form):
    written.append(1)
    if len(written) == 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    write_table(file, table, form)
job.write_table = write
"""
    + _SMALL
)


def test_a_disk_is_full(
    archive: Path, data: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    asked = ["score", str(archive), str(data), "--column", "body", "--keep", "id"]
    asked += ["--to", str(tmp_path / "out")]
    command = [sys.executable, "-c", _FULL, *asked]
    full = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert full.returncode == 1
    assert "File too large" in full.stderr
    assert "Traceback" not in full.stderr
    assert len(files(tmp_path / "out")) == 4
    done = subprocess.run([sys.executable, "-c", _SMALL, *asked], env=environment(), check=False)
    assert done.returncode == 0
    assert files(tmp_path / "out") == undisturbed


def test_object_storage(archive: Path, data: Path, s3: str, right: dict[int, list[float]]) -> None:
    store, _ = fs.FileSystem.from_uri(f"s3://tickets/{s3}&allow_bucket_creation=true")
    for bucket in ("tickets", "scored"):
        store.create_dir(bucket)
    fs.copy_files(str(data), "tickets/2026", destination_filesystem=store)
    columns = Columns("body", keep=("id",))
    for asked in ("s3://tickets/2026/", "s3://tickets/2026/*.parquet"):
        job = Job.begin(archive, asked + s3, f"s3://scored/2026{s3}", columns)
        for done in run_here(job, job.missing()):
            assert not done.problem
        assert not job.missing()
    found = dataset.dataset("scored/2026", filesystem=store, format="parquet").to_table()
    assert sorted(found["id"].to_pylist()) == list(range(ROWS))
    rows = zip(found["id"].to_pylist(), found["probabilities"].to_pylist(), strict=True)
    assert dict(rows) == right


def actors() -> list[psutil.Process]:
    """Those of Ray that score, of this test alone."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            name, own = process.cmdline()[:1], process.environ().get("PYTHONPATH")
            if "PartScorer" in "".join(name) and own == os.environ["PYTHONPATH"]:
                found.append(process)
    return found


def test_two_ray_nodes_one_of_which_dies_and_an_actor_before_it(
    archive: Path, data: Path, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: Any
) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from bertserve.score import cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = nodes.add_node(num_cpus=1)
        job = begin(archive, data, tmp_path / "out")
        outcomes = cluster.run_on_ray(job, job.missing(), nodes.address)
        killed: list[Any] = []
        for done in outcomes:
            assert not done.problem
            if not killed:
                actor = wait_until(actors)[0]
                actor.kill()
                killed.append(actor)
            if len(killed) == 1 and len(files(tmp_path / "out")) >= 3:
                nodes.remove_node(second, allow_graceful=False)
                killed.append(second)
        assert len(killed) == 2
    finally:
        ray.shutdown()
        nodes.shutdown()
    assert not job.missing()
    assert files(tmp_path / "out") == undisturbed


@pytest.fixture(scope="module")
def tickets(archive: Path, table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks as the one in the page."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "model_store").mkdir()
    shutil.copy(archive, folder / "model_store" / "support-2.0.mar")
    (folder / "tickets").mkdir()
    for number in range(2):
        rows = table.slice(number * 300, 300).to_pylist()
        with (folder / "tickets" / f"{number}.csv").open("w", newline="") as file:
            csv.DictWriter(file, ["id", "body"]).writerows([{"id": "id", "body": "body"}, *rows])
    return folder


@pytest.mark.parametrize(
    ("mark", "printed"),
    [
        ("csv", "600 rows, 0 with an error"),
        ("metadata", "'probability': 0."),
        ("dry run", "600 texts at"),
        ("shards", "600 rows, 0 with an error"),
        ("ray", "600 rows, 0 with an error"),
        ("python", ""),
        ("map_batches", "1000"),
    ],
)
def test_an_example_of_the_page(tickets: Path, mark: str, printed: str) -> None:
    if mark in ("ray", "map_batches"):
        pytest.importorskip("ray")
    (code,) = blocks("docs/scoring.md", f"executed: {mark}")
    program = [sys.executable, "-c", code]
    if "bertserve score" in code:
        program = ["bash", "-euo", "pipefail", "-c", code]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        program, cwd=tickets, env={**environment(), "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert printed in " ".join(done.stdout.split())


@pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning")
def test_spark(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = pytest.importorskip("pyspark.sql")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("Spark needs a Java with all its modules, which that of TorchServe here is not")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    session = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = session.getOrCreate()
    try:
        frame = spark.createDataFrame([(n, text(n)) for n in range(100)], "id long, body string")
        scorer = Scorer(archive, "body", keep=("id",))
        schema = "id long, label string, probability float, probabilities array<float>, "
        schema += "truncated boolean, error struct<code: string, message: string>"
        rows = frame.mapInArrow(scorer.batches, schema).collect()
    finally:
        spark.stop()
    assert sorted(row.id for row in rows) == list(range(100))
    with scorer:
        expected = scorer(pa.table({"id": [7], "body": [text(7)]}))["probabilities"][0].as_py()
    assert next(row.probabilities for row in rows if row.id == 7) == pytest.approx(expected)
