import logging
import math
from pathlib import Path

import pytest
import torch
import yaml
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

import bertserve
from handler.errors import RequestError
from handler.metrics import CONFIDENCE, ENTROPY, STEPS, Metrics, Reporter
from handler.values import Decision, Prediction

DECLARED = Path(bertserve.__file__).parent / "serving" / "config" / "metrics.yaml"
CPU = torch.device("cpu")


def prediction(label: str, confidence: float, entropy: float, **changes: bool) -> Prediction:
    rest = {"truncated": False, **changes}
    decision = Decision(label, confidence)
    return Prediction(
        {label: confidence}, [1.0], 5, rest["truncated"], confidence, entropy, decision
    )


OUTCOMES: list[Prediction | RequestError] = [
    prediction("a", 0.95, 0.1),
    RequestError("empty_text", "…"),
    prediction("b", 0.951, 1.0, truncated=True),
    prediction("a", 1 / 3, 0.0),
]


@pytest.fixture
def metrics() -> Metrics:
    metrics = Metrics()
    metrics.count(["ok", "partial", "invalid_json", "ok"], OUTCOMES)
    return metrics


@pytest.fixture
def cache() -> MetricsCacheYamlImpl:
    cache = MetricsCacheYamlImpl(str(DECLARED))
    cache.initialize_cache()
    return cache


def test_requests_texts_and_labels_are_counted(metrics: Metrics) -> None:
    found = metrics.take()
    assert found["requests_total", ("ok",)] == 2
    assert found["requests_total", ("partial",)] == 1
    assert found["requests_total", ("invalid_json",)] == 1
    assert found["texts_total", ("ok",)] == 3
    assert found["texts_total", ("empty_text",)] == 1
    assert found["labels_total", ("a",)] == 2
    assert found["labels_total", ("b",)] == 1
    assert found["tokens_total", ()] == 15
    assert found["truncated_texts_total", ()] == 1
    assert found["batches_total", ()] == 1
    assert metrics.take() == {}


def test_confidence_is_distributed_as_prometheus_does(metrics: Metrics) -> None:
    found = metrics.take()
    buckets = [found["confidence_bucket", (str(bound),)] for bound in CONFIDENCE]
    values = (0.95, 0.951, 1 / 3)
    assert buckets == [sum(value <= bound for value in values) for bound in CONFIDENCE]
    assert found["confidence_bucket", ("+Inf",)] == found["confidence_count", ()] == 3
    assert found["confidence_sum", ()] == pytest.approx(sum(values))
    assert found["entropy_bucket", (str(ENTROPY[0]),)] == 1
    assert found["entropy_sum", ()] == pytest.approx(1.1)


def test_steps_are_timed_even_when_they_fail() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="x"), metrics.time("forward"):
        raise ValueError("x")
    assert metrics.take()["step_seconds_total", ("forward",)] > 0


def test_what_is_counted_is_known_from_the_beginning() -> None:
    metrics = Metrics()
    metrics.add("padding_tokens_total", 7)  # of the warm-up
    metrics.begin(["a", "b"])
    found = metrics.take()
    assert set(found.values()) == {0}
    assert {key[1][0] for key in found if key[0] == "step_seconds_total"} == set(STEPS)
    assert {key[1][0] for key in found if key[0] == "labels_total"} == {"a", "b"}


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "[METRICS]" in record.getMessage()]


def test_all_that_is_counted_is_declared_and_told(
    metrics: Metrics, cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    metrics.begin(["a"])
    metrics.count(["ok"], OUTCOMES)
    metrics.add("out_of_memory_total")
    with caplog.at_level(logging.INFO):
        Reporter(metrics, cache, "m", "1.0", CPU).report()
    lines = told(caplog)
    names = {line.split("]")[1].split(".")[0] for line in lines}
    declared = {
        entry["name"] for entry in yaml.safe_load(DECLARED.read_text())["model_metrics"]["counter"]
    }
    assert names == declared
    assert all("|#model:m,version:1.0" in line for line in lines)
    assert any(line.startswith("[METRICS]bertserve_labels_total.Count:2|#") for line in lines)
    assert metrics.take() == {}


@pytest.mark.parametrize("value", [1e-7, 12_345_678.0, 1e12, 0.1, 3])
def test_numbers_are_told_as_torchserve_reads_them(
    value: float, cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    metrics.add("tokens_total", value)
    with caplog.at_level(logging.INFO):
        Reporter(metrics, cache, "m", "1.0", CPU).report()
    number = told(caplog)[0].split("Count:")[1].split("|")[0]
    assert set(number) <= set("0123456789.")
    assert math.isclose(float(number), value, abs_tol=1e-9)


def test_labels_cannot_end_a_line_or_a_value(
    cache: MetricsCacheYamlImpl, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    metrics.add("labels_total", 1, "a,b:c|#d\ne\u2028f ä")
    with caplog.at_level(logging.INFO):
        Reporter(metrics, cache, "m", "1.0", CPU).report()
    assert "label:a_b_c__d_e_f ä|" in told(caplog)[0]


@pytest.mark.parametrize("cache", [None, object()])
def test_a_server_that_knows_none_of_them_is_told_nothing(
    cache: object, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        Reporter(metrics, cache, "m", "1.0", CPU).start()
    assert "names no metrics of bertserve" in caplog.text
    assert told(caplog) == []
