from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.engine import TRANSFORMERS
from benchmark.models import FINE_TUNED
from benchmark.report import (
    JSON,
    PLOT,
    compare_labels,
    cost_table,
    engine_table,
    latency_table,
    left_out,
    medians,
    number,
    ratio,
    show,
    throughput_table,
    write_docs,
)
from benchmarked import results


def test_medians_are_those_of_the_rounds() -> None:
    found = {
        (each["server"], each["connections"]): each for each in medians(results()["measurements"])
    }
    assert found["bertserve-auto", 64]["requests_per_second"] == 300
    assert found["bertserve-auto", 64]["p50_ms"] == 20
    assert found["bertserve-auto", 64]["rounds"] == 3
    assert "round" not in found["bertserve-auto", 64]


def test_servers_are_compared_with_the_ordinary_handler_and_the_best_of_the_others() -> None:
    rows = {title: cells for title, *cells in throughput_table(results(), "short").rows}
    assert rows["bertserve (auto)"] == ["300", "300", "3.00", "2.00"]
    assert rows["TorchServe, ordinary handler"] == ["100", "100", "1.00", "0.67"]
    assert rows["infinity"] == ["–", "–", "–", "–"]


def test_latencies_and_costs_have_a_row_for_each_server() -> None:
    assert latency_table(results(), "short").rows[0] == [
        "bertserve (auto)",
        "20.0 / 40.0",
        "20.0 / 40.0",
    ]
    assert cost_table(results(), "short").rows[0] == [
        "bertserve (auto)",
        "9.00",
        "1.50",
        "700",
        "6",
    ]
    assert cost_table(results(), "short").rows[-1] == ["infinity", "–", "–", "–", "–"]


def test_the_engine_is_compared_with_the_rate_in_its_own_precision() -> None:
    (row,) = engine_table(results()).rows
    assert row[:4] == ["auto, short", "64", "640", "200"]
    assert row[-3:] == ["bfloat16", "50%", "–"]


def test_engines_of_others_have_no_rate() -> None:
    found = results()
    call = {"workload": "short", "texts": 64, "texts_per_second": 12.3, "same_labels": 0.957}
    found["engine"] = [{"precision": "OpenVINO int8", "computes_in": "int8", "calls": [call]}]
    (row,) = engine_table(found).rows
    assert row == ["OpenVINO int8, short", "64", "12.3", *"––––", "int8", "–", "95.70%"]


def test_what_is_missing_is_said() -> None:
    assert left_out(results()) == [
        "infinity is absent: it cannot be installed",
        "LitServe failed in round 2: it ended",
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.123, "0.12"), (12.34, "12.3"), (123.4, "123"), (1234.5, "1,230"), (98765, "98,800")],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratio(1.0, None) == ratio(None, 1.0) == ratio(1.0, 0) == "–"


def test_tables_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    show(results())
    printed = capsys.readouterr().out
    assert "short: requests/s" in printed
    assert "infinity is absent: it cannot be installed" in printed


def write_results(output: Path, model: str, found: dict[str, Any]) -> None:
    (output / model).mkdir(parents=True, exist_ok=True)
    (output / model / JSON).write_text(json.dumps({**found, "model": model}))
    (output / model / PLOT).write_text("<svg/>")


def test_a_part_of_the_page_is_made_from_the_json_alone_and_the_other_is_kept(
    tmp_path: Path,
) -> None:
    output, docs = tmp_path / "bench", tmp_path / "docs"
    docs.mkdir()
    found = results()
    write_results(output, FINE_TUNED, found)
    write_results(output, "modernbert-base", {**found, "measurements": []})
    write_docs(output, docs)
    page = (docs / "performance.md").read_text(encoding="utf-8")
    assert "A Processor, 2 cores (avx2), 16.0 GB of memory" in page
    assert "2000-01-01, commit 0123456789ab" in page
    assert "| bertserve (auto) | 300 | 300 | 3.00 | 2.00 |" in page
    assert "| `short` | 3,080 | 15 | 82 |" in page
    assert "- LitServe: litserve==1.0" in page
    assert "- infinity is absent: it cannot be installed" in page
    assert "#### modernbert-base" in page
    assert page.index("Not measured yet.") < page.index("A Processor")  # AMX comes first
    assert (docs / "performance-no-amx.svg").read_text() == "<svg/>"

    found["machine"] = {**found["machine"], "cpu": "Another", "flags": ["avx2", "amx_bf16"]}
    write_results(output, FINE_TUNED, found)
    write_docs(output, docs)
    page = (docs / "performance.md").read_text(encoding="utf-8")
    assert "Not measured yet." not in page
    assert page.index("Another, 2 cores") < page.index("A Processor, 2 cores")
    assert page.count("<!-- end of") == 2


def test_labels_are_compared_with_those_of_float32() -> None:
    def engine(precision: str, labels: list[int]) -> dict[str, Any]:
        call = {"workload": "short", "texts": 4, "labels": labels}
        return {"precision": precision, "calls": [call, {**call, "texts": 5}]}

    engines = [engine(TRANSFORMERS, [0, 1, 2, 0]), engine("int8", [0, 1, 1, 0])]
    engines[0]["calls"].pop()
    compare_labels(engines)
    assert engines[1]["calls"] == [
        {"workload": "short", "texts": 4, "same_labels": 0.75},
        {"workload": "short", "texts": 5},
    ]
    assert engines[0]["calls"] == [{"workload": "short", "texts": 4}]


def test_a_page_without_a_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run scripts/bench first"):
        write_docs(tmp_path, tmp_path)
