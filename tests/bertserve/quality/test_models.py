from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bertserve.cli.quality import find_model
from bertserve.errors import ConfigError
from bertserve.quality.models import Model, archived, check_apart, compare, judge, mistakes
from bertserve.quality.scores import Scores


def model(
    labels: list[str], calibration: Mapping[str, object], activation: str = "softmax"
) -> Model:
    """A model that gives a text as many votes for a label as the text names it."""
    facts = {
        "name": "m",
        "version": "1",
        "labels": labels,
        "activation": activation,
        "calibration": calibration,
        "options": {},
    }

    def score(texts: object, _: object) -> Scores:
        assert isinstance(texts, list)
        votes = np.array([[text.count(label) for label in labels] for text in texts], float)
        probabilities = votes / votes.sum(axis=1, keepdims=True)
        return Scores(votes, np.float32(probabilities).astype(float), facts)

    return Model(facts, score)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("text,label\na a b,0\nb b c,1\nc c a,2\na b b,0\n")
    return path


def test_numbers_mean_the_same_labels_for_both_models(data: Path) -> None:
    one = judge(model(["a", "b", "c"], {"method": "none"}), data)
    turned = model(["c", "a", "b"], {"method": "none"})
    other = judge(turned, data, labels=one.model.labels)
    assert one.evaluation.accuracy == other.evaluation.accuracy == 0.75
    found = compare(one, other)
    assert found.labels_changed == found.largest_shift == 0
    assert found.differences["accuracy"].value == 0


def test_mistakes_are_found_by_their_labels(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("text,label\na b b,a\na b b b,a\nb b c,b\nc a a,c\n")
    judged = judge(model(["a", "b", "c"], {"method": "none"}), path)
    assert [each.text for each in mistakes(judged)] == ["a b b b", "a b b", "c a a"]
    assert [each.text for each in mistakes(judged, "a", "b")] == ["a b b b", "a b b"]
    assert [each.text for each in mistakes(judged, predicted="a")] == ["c a a"]
    assert mistakes(judged, "b") == []


def test_models_of_other_labels_or_another_kind_are_not_compared(data: Path) -> None:
    one = judge(model(["a", "b", "c"], {"method": "none"}), data)
    with pytest.raises(ConfigError, match="different labels"):
        judge(model(["a", "b", "d"], {"method": "none"}), data, labels=one.model.labels)
    other = judge(model(["a", "b", "c"], {"method": "none"}, "sigmoid"), data)
    with pytest.raises(ConfigError, match="are independent, those of the other are not"):
        compare(one, other)


def test_levels_are_compared_as_the_handler_does(data: Path) -> None:
    """In float32: two thirds are no less than 2 / 3."""
    level = 2 / 3
    calibration: dict[str, object] = {
        "method": "temperature",
        "threshold": level,
        "sets": {"coverage": 0.9, "level": level},
    }
    found = judge(model(["a", "b", "c"], calibration), data)
    assert found.decisions["threshold"] == {"level": level, "coverage": 1.0, "precision": 0.75}
    assert found.decisions["sets"]["mean_size"] == 1
    thresholds: dict[str, object] = {"method": "platt", "thresholds": [level, None, level]}
    independent = judge(model(["a", "b", "c"], thresholds, "sigmoid"), data).evaluation
    assert [each.threshold for each in independent.of_labels] == [
        pytest.approx(level),
        None,
        pytest.approx(level),
    ]
    assert [each.recall for each in independent.of_labels] == [0.5, 0.0, 1.0]


def test_texts_that_a_calibration_was_fitted_on_are_known(data: Path) -> None:
    first = judge(model(["a", "b", "c"], {"method": "none"}), data)
    assert not first.fitted_on_these
    same: dict[str, object] = {
        "method": "temperature",
        "provenance": {"sha256": first.labelled.sha256},
    }
    assert judge(model(["a", "b", "c"], same), data).fitted_on_these


def test_texts_that_are_read_otherwise_than_the_calibration_s_are_known(data: Path) -> None:
    settings = {"max_length": None, "long_text": "truncate"}
    calibrated = model(["a"], {"method": "temperature", "provenance": {"settings": settings}})
    calibrated.facts["labels"] = ["a", "b", "c"]
    asked = model(["a", "b", "c"], calibrated.facts["calibration"])
    assert judge(asked, data).fitted_on_others == {}
    asked.facts["options"] = {"max_length": 9, "long_text": "truncate", "calibrated": True}
    assert judge(asked, data).fitted_on_others == {"max_length": None}


@pytest.mark.parametrize(
    ("given", "version", "wanted"),
    [("m", None, None), ("m", "2", "2"), ("m@2", None, "2"), ("m@2.0-b", None, "2.0-b")],
)
def test_a_served_model_may_be_named_with_its_version(
    given: str, version: str | None, wanted: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that two versions can be compared."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr("bertserve.serving.find", lambda _: "server")
    monkeypatch.setattr("bertserve.quality.served", lambda *each, **_: asked.append(each))
    find_model(given, version, None, {})
    assert asked == [("server", "m", wanted)]


def test_a_version_is_named_once() -> None:
    with pytest.raises(ConfigError, match="m@2 names a version already"):
        find_model("m@2", "3", None, {})


def test_a_model_without_its_calibration_has_no_levels_either(tmp_path: Path) -> None:
    """Nor is it calibrated on anything."""
    found = {
        "name": "m", "version": "1", "labels": ["a"], "activation": "softmax", "precision": "float32",
        "calibration": {"method": "temperature", "threshold": 0.7}, "sha256": "0", "intact": True,
        "settings": {},
    }  # fmt: skip
    scored: list[dict[str, object]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bertserve.quality.models.inspect", lambda _: found)
        patch.setattr(
            "bertserve.quality.models.score_archive", lambda *_, **each: scored.append(each)
        )
        plain = archived(tmp_path / "m.mar", calibrated=False, max_length=9)
        plain.score([], lambda _: None)
        usual = archived(tmp_path / "m.mar")
    assert plain.facts["calibration"] == {"method": "none"}
    assert scored == [{"calibrated": False, "max_length": 9}]
    assert usual.facts["calibration"] == found["calibration"]


def test_a_model_of_pairs_is_not_judged_on_halves(data: Path) -> None:
    pairs = model(["a", "b", "c"], {"method": "none"})
    pairs.facts["pairs"] = True
    with pytest.raises(ConfigError, match="m classifies pairs, and .* --pair-column"):
        judge(pairs, data)


def test_a_model_is_not_compared_with_itself() -> None:
    served, again = (model(["a"], {"method": "none"}) for _ in range(2))
    with pytest.raises(ConfigError, match="m 1 would be compared with itself; .* NAME@VERSION"):
        check_apart(served, again)
    again.facts["version"] = "2"
    check_apart(served, again)
    one, other = (model(["a"], {"method": "none"}) for _ in range(2))
    one.facts["sha256"] = other.facts["sha256"] = "a"
    other.facts["source"] = "copy.mar"
    with pytest.raises(ConfigError, match="compared with itself"):
        check_apart(one, other)
    check_apart(one, served)
