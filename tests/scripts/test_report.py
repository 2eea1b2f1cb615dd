from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.report import (
    JSON,
    PLOT,
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
    assert row[-2:] == ["bfloat16", "50%"]


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


def test_the_page_is_made_from_the_json_alone(tmp_path: Path) -> None:
    output, docs = tmp_path / "bench", tmp_path / "docs"
    output.mkdir()
    docs.mkdir()
    (output / JSON).write_text(json.dumps(results()))
    (output / PLOT).write_text("<svg/>")
    write_docs(output, docs)
    page = (docs / "performance.md").read_text(encoding="utf-8")
    assert "A Processor, 2 cores (avx2), 16.0 GB of memory" in page
    assert "2000-01-01, commit 0123456789ab" in page
    assert "| bertserve (auto) | 300 | 300 | 3.00 | 2.00 |" in page
    assert "| `short` | 3,080 | 15 | 82 |" in page
    assert "- LitServe: litserve==1.0" in page
    assert "- infinity is absent: it cannot be installed" in page
    assert (docs / "performance.svg").read_text() == "<svg/>"


def test_a_page_without_a_run_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run scripts/bench first"):
        write_docs(tmp_path, tmp_path)
