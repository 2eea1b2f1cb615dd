"""Independent labels, and pairs: train, calibrate, package, serve, predict, evaluate, explain."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from bertserve import Pair, Prediction
from bertserve.inputs import Input
from bertserve.quality.calibration.scaling import plain
from bertserve.quality.scores import Scores, score_archive, score_served
from bertserve.serving.config import read_config
from bertserve.serving.server import Server
from bertserve.serving.starting import start
from serving import PATIENCE, environment, write_config
from trained import TOPICS, Example, pairs, topics, train

EXACT = ("--precision", "float32")


@dataclass(frozen=True)
class Site:
    """A model that was trained, calibrated, packaged and is served; and texts that it has not seen."""

    server: Server
    config: Path
    name: str
    folder: Path
    archive: Path
    unseen: list[Example]
    data: Path
    calibration: dict[str, Any]

    @property
    def inputs(self) -> list[Input]:
        return [e.text if e.text_pair is None else Pair(e.text, e.text_pair) for e in self.unseen]

    def right(self, labels: Sequence[str]) -> np.ndarray:
        return np.array([[label in example.labels for label in labels] for example in self.unseen])


def run(*arguments: object) -> dict[str, Any]:
    """What a command prints as JSON."""
    command = [sys.executable, "-m", "bertserve", *map(str, arguments), "--json"]
    done = subprocess.run(
        command, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def write(path: Path, examples: list[Example]) -> Path:
    path.write_text("\n".join(json.dumps(example.row()) for example in examples))
    return path


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Site]]:
    root = tmp_path_factory.mktemp("kinds")
    store, config = root / "store", write_config(root)
    kinds: dict[str, tuple[Any, tuple[str, ...], bool, tuple[object, ...]]] = {
        "topics": (topics, tuple(TOPICS), True, ("--method", "platt")),
        "pairs": (pairs, ("different", "same"), False, ("--pair-column", "text_pair")),
    }
    made = {}
    for name, (make, labels, independent, options) in kinds.items():
        folder = train(root / name, make, labels, independent=independent)
        held_out = write(root / f"{name}-held-out.jsonl", make(600, 1))
        calibration = run(
            "calibrate", folder, "--data", held_out, "--target-precision", 0.8, *EXACT, *options
        )
        packaged = run(
            "package", folder, "--name", name, "--version", "1.0", "--output", store, *EXACT,
            "--workers", 1,
        )  # fmt: skip
        unseen = make(400, 2)
        data = write(root / f"{name}-unseen.jsonl", unseen)
        made[name] = (folder, Path(packaged["archive"]), unseen, data, calibration)
    server = start(read_config(config), store)
    try:
        yield {name: Site(server, config, name, *each) for name, each in made.items()}
    finally:
        server.stop()


@pytest.fixture(params=["topics", "pairs"])
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    return sites[request.param]


_SCORES: dict[tuple[str, str], Scores] = {}


def scores(site: Site, way: str) -> Scores:
    if (site.name, way) not in _SCORES:
        _SCORES[site.name, way] = compute(site, way)
    return _SCORES[site.name, way]


def compute(site: Site, way: str) -> Scores:
    if way == "offline":
        return score_archive(site.archive, site.inputs)
    connect = site.server.client if way == "HTTP" else site.server.grpc_client
    with connect(site.name) as client:
        return score_served(client, site.inputs)


def test_probabilities_are_the_same_wherever_they_are_computed(site: Site) -> None:
    offline, *online = (scores(site, way) for way in ("offline", "HTTP", "gRPC"))
    for each in online:
        assert np.abs(each.probabilities - offline.probabilities).max() <= 1e-6
        assert np.abs(each.logits - offline.logits).max() <= 1e-5
    if site.name == "pairs":
        assert np.abs(offline.probabilities.sum(axis=1) - 1).max() < 1e-5
    else:
        assert (offline.probabilities.sum(axis=1) > 1.2).any()


def test_calibrated_probabilities_are_those_of_the_file(site: Site) -> None:
    found, numbers = scores(site, "offline"), site.calibration
    if site.name == "topics":
        logits = found.logits * numbers["weights"] + numbers["biases"]
        expected = 1 / (1 + np.exp(-logits))
    else:
        odds = np.exp(found.logits / numbers["temperature"])
        expected = odds / odds.sum(axis=1, keepdims=True)
    assert np.abs(found.probabilities - expected).max() < 1e-5
    with site.server.client(site.name) as client:
        described = dict(client.describe().calibration)
        own = client.classify(site.inputs[0], calibrated=False, details=True)
        usual = client.classify(site.inputs[0], details=True)
    for key in numbers.keys() - {"provenance"}:
        assert described[key] == numbers[key]
    assert described["provenance"]["after"] == numbers["provenance"]["after"]
    assert (own.calibrated, usual.calibrated) == (False, True)
    logits = np.array(list((own.logits or {}).values()))
    assert sorted(logits) == pytest.approx(sorted((usual.logits or {}).values()), abs=1e-4)
    (expected,) = plain(logits[None], independent=site.name == "topics")
    assert list(own.probabilities.values()) == pytest.approx(expected, abs=1e-5)


def test_calibration_holds_on_texts_that_it_did_not_see(site: Site) -> None:
    labels = list(TOPICS) if site.name == "topics" else ["different", "same"]
    found, right = scores(site, "offline"), site.right(labels)
    assert found.labels == labels
    losses = {
        name: np.mean(
            [
                metrics.log_loss(right[:, i], probabilities[:, i], labels=[False, True])
                for i in range(len(labels))
            ]
        )
        for name, probabilities in (
            ("calibrated", found.probabilities),
            ("plain", plain(found.logits, independent=site.name == "topics")),
        )
    }
    assert losses["calibrated"] < losses["plain"] + 0.01
    assert 0.1 < losses["calibrated"] < 0.55  # a tenth of the labels is noise; 0.33 is the least


@pytest.mark.parametrize("way", ["HTTP", "gRPC"])
def test_decisions_follow_from_the_levels(site: Site, way: str) -> None:
    connect = site.server.client if way == "HTTP" else site.server.grpc_client
    with connect(site.name) as client:
        found = client.classify(site.inputs, details=True)
    right_of_said = []
    for example, each in zip(site.unseen, found, strict=True):
        assert isinstance(each, Prediction)
        values = each.probabilities
        if site.name == "topics":
            levels = dict(zip(TOPICS, site.calibration["thresholds"], strict=True))
            assert set(each.labels or ()) == {
                k for k, v in values.items() if levels[k] is not None and v >= levels[k]
            }
            assert (each.set, each.set_coverage) == (None, None)
            right_of_said += [label in example.labels for label in each.labels or ()]
        else:
            label = next(iter(values))
            assert each.label == (label if values[label] >= site.calibration["threshold"] else None)
            level = site.calibration["sets"]["level"]
            assert each.set == tuple(k for k, v in values.items() if v >= level)
            assert each.set_coverage == 0.95
            assert each.margin == pytest.approx(2 * values[label] - 1, abs=1e-5)
            if each.label:
                right_of_said.append(each.label in example.labels)
    assert len(right_of_said) > 100
    assert np.mean(right_of_said) > 0.8  # which was asked for


def test_an_evaluation_is_the_same_offline_and_online(site: Site, tmp_path: Path) -> None:
    columns = ("--pair-column", "text_pair") if site.name == "pairs" else ()
    report = tmp_path / "report.html"
    offline = run(
        "evaluate", site.archive, "--data", site.data, *columns, "--compare", site.name,
        "--config", site.config, "--html", report, "--worst", 3,
    )  # fmt: skip
    online = offline["other"]
    exact = "exact_match" if site.name == "topics" else "accuracy"
    for key in (exact, "nll", "brier", "ece_width", "micro_f1", "macro_f1"):
        assert online[key] == pytest.approx(offline[key], abs=1e-5)
    assert online["decisions"] == offline["decisions"]
    comparison = offline["comparison"]
    assert (comparison["only_one"], comparison["only_other"], comparison["p_value"]) == (0, 0, 1)
    assert comparison["largest_shift"] < 1e-6
    html = report.read_text(encoding="utf-8")
    assert f"{site.name} 1.0" in html
    assert len(offline["worst"]) == 3
    assert offline["worst"][0]["text"] in html
    found, labels = scores(site, "HTTP"), offline["labels"]
    right = site.right(labels)
    if site.name == "topics":
        levels = site.calibration["thresholds"]
        said = found.probabilities >= np.array([2 if each is None else each for each in levels])
        average = metrics.average_precision_score(right, found.probabilities, average="macro")
        assert offline["mean_average_precision"] == pytest.approx(average, abs=1e-6)
        assert offline["top"] == {}
    else:
        said = np.eye(2, dtype=bool)[found.probabilities.argmax(axis=1)]
    assert offline[exact] == metrics.accuracy_score(right, said)
    assert offline["micro_f1"] == pytest.approx(metrics.f1_score(right, said, average="micro"))
    of_labels = {each["label"]: each for each in offline["of_labels"]}
    for i, label in enumerate(labels):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            right[:, i], said[:, i], average="binary"
        )
        each = of_labels[label]
        assert (each["precision"], each["recall"], each["f1"]) == pytest.approx(
            (precision, recall, f1)
        )
        assert each["support"] == right[:, i].sum()


def test_words_that_carry_a_label_are_its_own(sites: dict[str, Site]) -> None:
    site = sites["topics"]
    with site.server.client(site.name) as client, site.server.grpc_client(site.name) as grpc:
        for label, words in TOPICS.items():
            text = f"we never found the {words[0]} again"
            found, over_grpc = client.explain(text, label), grpc.explain(text, label)
            assert max(found.words, key=lambda word: word.attribution).word == words[0]
            assert [word.word for word in over_grpc.words] == [word.word for word in found.words]
            for one, other in zip(found.words, over_grpc.words, strict=True):
                assert one.attribution == pytest.approx(other.attribution, abs=1e-5)


def test_an_explanation_is_complete(site: Site) -> None:
    pair = ("--pair", "we hated the kettle") if site.name == "pairs" else ()
    found = run("explain", site.name, "we liked the film", *pair, "--config", site.config)
    change = found["logit"] - found["baseline_logit"]
    total = sum(word["attribution"] for word in found["words"])
    assert abs(total - change) == pytest.approx(found["completeness_gap"], abs=1e-6)
    assert found["completeness_gap"] <= max(0.01, 0.02 * abs(change))
    texts = [word["word"] for word in found["words"]]
    assert texts == "we liked the film we hated the kettle".split()[: 8 if pair else 4]
    assert {word["of"] for word in found["words"]} == ({"text", "text_pair"} if pair else {"text"})
