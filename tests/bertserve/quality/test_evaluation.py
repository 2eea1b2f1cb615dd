"""Figures of evaluation, against scikit-learn and against plain loops."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from sklearn import metrics
from sklearn.dummy import DummyClassifier

from bertserve.errors import ConfigError
from bertserve.inputs import Pair
from bertserve.quality.evaluation import Evaluation, evaluate
from bertserve.quality.metrics.bootstrap import FIGURES, bootstrap_intervals
from bertserve.quality.metrics.scoring_rules import (
    Bools,
    Floats,
    bins_of_mass,
    bins_of_width,
    calibration_error,
    predictions,
)
from bertserve.quality.metrics.worst import worst_indices, worst_texts

Scored = tuple[Floats, Bools]


def scored(texts: int, labels: int, *, seed: int = 0, independent: bool = False) -> Scored:
    """Probabilities that know something of the right labels, but are too sure of it."""
    draws = np.random.default_rng(seed)
    if independent:
        right = draws.random((texts, labels)) < 0.3
        return special.expit(draws.normal(size=right.shape) * 2 + 3 * right - 2), right
    right = np.eye(labels, dtype=bool)[draws.integers(labels, size=texts)]
    return special.softmax(draws.normal(size=right.shape) * 2 + 3 * right, axis=1), right


def names(count: int) -> list[str]:
    return [f"label {i}" for i in range(count)]


def found(probabilities: Any, right: Any, **options: Any) -> Evaluation:
    """An evaluation that has been through JSON's rules: no NaN in it."""
    probabilities, right = np.array(probabilities, dtype=float), np.array(right, dtype=bool)
    evaluation = evaluate(probabilities, right, names(right.shape[1]), **options)
    json.dumps(dataclasses.asdict(evaluation), allow_nan=False)
    return evaluation


def confidences(probabilities: Floats, right: Bools, independent: bool) -> list[tuple[float, bool]]:
    """Confidence of each prediction and whether it is right, in loops."""
    pairs = []
    for row, truth in zip(probabilities.tolist(), right.tolist(), strict=True):
        if independent:
            pairs += [(p, t) for p, t in zip(row, truth, strict=True) if p >= 0.5]
        else:
            pairs.append((max(row), truth[row.index(max(row))]))
    return pairs


def error_of(groups: list[list[tuple[float, bool]]]) -> float:
    total = sum(map(len, groups))
    gaps = (abs(sum(c for c, _ in each) - sum(r for _, r in each)) for each in groups)
    return sum(gaps) / total


class TestOneLabelAText:
    @pytest.fixture
    def data(self) -> Scored:
        return scored(400, 8)

    @pytest.fixture
    def evaluation(self, data: Scored) -> Evaluation:
        return found(*data)

    def test_what_scikit_learn_computes(self, data: Scored, evaluation: Evaluation) -> None:
        probabilities, right = data
        truth, said = right.argmax(axis=1), probabilities.argmax(axis=1)
        assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(truth, said))
        assert evaluation.accuracy is not None
        assert 0.5 < evaluation.accuracy < 0.95  # there is something to get wrong
        assert evaluation.nll == pytest.approx(metrics.log_loss(truth, probabilities))
        assert evaluation.brier == pytest.approx(
            metrics.brier_score_loss(truth, probabilities, scale_by_half=False)
        )
        for average in ("macro", "micro", "weighted"):
            wanted = metrics.f1_score(truth, said, average=average)
            assert getattr(evaluation, f"{average}_f1") == pytest.approx(wanted)
        for k in (1, 3, 5):
            wanted = metrics.top_k_accuracy_score(truth, probabilities, k=k)
            assert evaluation.top[k] == pytest.approx(wanted)
        report = metrics.classification_report(
            truth, said, target_names=names(8), output_dict=True, zero_division=0
        )
        for each in evaluation.of_labels:
            wanted = report[each.label]
            assert each.precision == pytest.approx(wanted["precision"])
            assert each.recall == pytest.approx(wanted["recall"])
            assert each.f1 == pytest.approx(wanted["f1-score"])
            assert each.support == wanted["support"]
            assert each.threshold is each.best_f1 is None

    def test_ranking_and_a_baseline_by_scikit_learn(
        self, data: Scored, evaluation: Evaluation
    ) -> None:
        probabilities, right = data
        truth = right.argmax(axis=1)
        area = metrics.roc_auc_score(truth, probabilities, multi_class="ovr")
        assert evaluation.roc_auc == pytest.approx(area)
        average = metrics.average_precision_score(right, probabilities, average="macro")
        assert evaluation.mean_average_precision == pytest.approx(average)
        always = DummyClassifier(strategy="most_frequent").fit(truth, truth).predict(truth)
        assert evaluation.baseline.label == f"label {always[0]}"
        assert evaluation.baseline.accuracy == metrics.accuracy_score(truth, always)
        assert evaluation.baseline.exact_match is None
        for average in ("macro", "micro", "weighted"):
            wanted = metrics.f1_score(truth, always, average=average)
            assert getattr(evaluation.baseline, f"{average}_f1") == pytest.approx(wanted)

    def test_plain_loops_agree(self, data: Scored, evaluation: Evaluation) -> None:
        probabilities, right = data
        texts, labels = right.shape
        nll = brier = 0.0
        top = dict.fromkeys((1, 3, 5), 0)
        for row, truth in zip(probabilities.tolist(), right.tolist(), strict=True):
            answer = truth.index(True)
            nll -= math.log(row[answer])
            brier += sum((row[i] - (i == answer)) ** 2 for i in range(labels))
            rank = sum(p > row[answer] for p in row)
            for k in top:
                top[k] += rank < k
        assert evaluation.nll == pytest.approx(nll / texts)
        assert evaluation.brier == pytest.approx(brier / texts)
        assert evaluation.top == pytest.approx({k: n / texts for k, n in top.items()})

    def test_confusions(self, data: Scored, evaluation: Evaluation) -> None:
        probabilities, right = data
        pairs: dict[tuple[str, str], int] = {}
        for row, truth in zip(probabilities.tolist(), right.tolist(), strict=True):
            pair = names(8)[truth.index(True)], names(8)[row.index(max(row))]
            pairs[pair] = pairs.get(pair, 0) + 1
        counts = sorted((n for (a, b), n in pairs.items() if a != b), reverse=True)
        assert [each.count for each in evaluation.confusions] == counts[:20]
        for each in evaluation.confusions:
            assert each.count == pairs[each.right, each.predicted]
            of_right = sum(n for (a, _), n in pairs.items() if a == each.right)
            assert each.share == pytest.approx(each.count / of_right)
        assert evaluation.matrix is not None
        assert evaluation.matrix.labels == names(8)
        assert evaluation.matrix.others == [0] * 8
        assert evaluation.matrix.counts == [
            [pairs.get((a, b), 0) for b in names(8)] for a in names(8)
        ]

    def test_coverage_is_accuracy_on_the_most_confident(
        self, data: Scored, evaluation: Evaluation
    ) -> None:
        judged = sorted(confidences(*data, independent=False), reverse=True)
        assert len(evaluation.coverage) == 100
        for point in evaluation.coverage:
            kept = judged[: round(point.kept * len(judged))]
            assert point.accuracy == pytest.approx(sum(r for _, r in kept) / len(kept))
            assert point.confidence == pytest.approx(kept[-1][0])
        assert evaluation.coverage[-1].kept == 1
        assert evaluation.coverage[-1].accuracy == pytest.approx(evaluation.accuracy)
        assert evaluation.coverage[0].accuracy > (evaluation.accuracy or 0)


class TestIndependentLabels:
    @pytest.fixture
    def data(self) -> Scored:
        return scored(300, 6, independent=True)

    @pytest.fixture
    def evaluation(self, data: Scored) -> Evaluation:
        return found(*data, independent=True)

    def test_what_scikit_learn_computes(self, data: Scored, evaluation: Evaluation) -> None:
        probabilities, right = data
        said = probabilities >= 0.5
        assert evaluation.accuracy is None
        assert evaluation.exact_match == pytest.approx((said == right).all(axis=1).mean())
        assert evaluation.correct == pytest.approx(
            metrics.precision_score(right, said, average="micro")
        )
        assert evaluation.confidence == pytest.approx(probabilities[said].mean())
        for i, each in enumerate(evaluation.of_labels):
            assert each.confidence == pytest.approx(probabilities[said[:, i], i].mean())
        assert evaluation.ece_labels == pytest.approx(
            np.mean([each.ece for each in evaluation.of_labels])
        )
        for average in ("macro", "micro", "weighted"):
            wanted = metrics.f1_score(right, said, average=average)
            assert getattr(evaluation, f"{average}_f1") == pytest.approx(wanted)
        area = metrics.roc_auc_score(right, probabilities, average="macro")
        assert evaluation.roc_auc == pytest.approx(area)
        always = np.zeros_like(right)
        always[:, right.sum(axis=0).argmax()] = True
        assert evaluation.baseline.accuracy is None
        assert evaluation.baseline.exact_match == metrics.accuracy_score(right, always)
        assert evaluation.baseline.micro_f1 == pytest.approx(
            metrics.f1_score(right, always, average="micro")
        )
        assert evaluation.mean_average_precision == pytest.approx(
            metrics.average_precision_score(right, probabilities, average="macro")
        )
        wanted_nll = sum(metrics.log_loss(right[:, i], probabilities[:, i]) for i in range(6))
        assert evaluation.nll == pytest.approx(wanted_nll)
        wanted_brier = sum(
            metrics.brier_score_loss(right[:, i], probabilities[:, i]) for i in range(6)
        )
        assert evaluation.brier == pytest.approx(wanted_brier)
        assert evaluation.top == {}
        assert evaluation.confusions == []
        assert evaluation.matrix is None

    def test_best_thresholds(self, data: Scored, evaluation: Evaluation) -> None:
        probabilities, right = data
        for i, each in enumerate(evaluation.of_labels):
            assert each.threshold == 0.5
            assert each.best_threshold is not None
            scores = [
                metrics.f1_score(right[:, i], probabilities[:, i] >= threshold)
                for threshold in [*probabilities[:, i], each.best_threshold]
            ]
            assert scores[-1] == pytest.approx(max(scores))
            assert each.best_f1 == pytest.approx(max(scores))
            assert each.f1 is not None
            assert max(scores) >= each.f1

    def test_given_thresholds_are_used_and_shown(
        self, data: Scored, evaluation: Evaluation
    ) -> None:
        probabilities, right = data
        best = [each.best_threshold or 0.5 for each in evaluation.of_labels]
        again = found(probabilities, right, independent=True, thresholds=best)
        assert [each.threshold for each in again.of_labels] == best
        assert [each.f1 for each in again.of_labels] == pytest.approx(
            [each.best_f1 for each in evaluation.of_labels]
        )
        said = np.array([[p >= t for p, t in zip(row, best, strict=True)] for row in probabilities])
        assert again.exact_match == pytest.approx((said == right).all(axis=1).mean())
        assert again.macro_f1 == pytest.approx(metrics.f1_score(right, said, average="macro"))
        assert again.nll == evaluation.nll
        assert again.confidence == pytest.approx(probabilities[said].mean())
        assert again.correct == pytest.approx(right[said].mean())

    def test_one_logit(self) -> None:
        evaluation = found([[0.9], [0.8], [0.3], [0.6]], [[1], [0], [0], [1]], independent=True)
        assert evaluation.exact_match == 0.75
        (only,) = evaluation.of_labels
        assert only.precision == pytest.approx(2 / 3)
        assert (only.recall, only.support) == (1, 2)
        assert evaluation.micro_f1 == evaluation.macro_f1 == pytest.approx(0.8)
        assert only.average_precision == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
        assert only.best_threshold == pytest.approx(0.45)

    def test_texts_without_labels(self) -> None:
        evaluation = found([[0.1, 0.2], [0.3, 0.9]], [[0, 0], [0, 0]], independent=True)
        assert evaluation.exact_match == 0.5
        assert evaluation.mean_average_precision is None
        first, second = evaluation.of_labels
        assert (first.precision, first.recall, first.f1, first.best_threshold) == (None,) * 4
        assert (second.precision, second.recall, second.f1) == (0, None, 0)
        assert evaluation.macro_f1 == 0

    def test_nothing_right_and_nothing_predicted(self) -> None:
        evaluation = found([[0.1, 0.2]], [[0, 0]], independent=True)
        assert evaluation.exact_match == 1
        assert evaluation.macro_f1 is evaluation.micro_f1 is evaluation.weighted_f1 is None

    def test_absent_labels_drown_nothing(self) -> None:
        """A hundred labels, of which a text has one: what is said is off, and seen to be."""
        draws = np.random.default_rng(0)
        probabilities = np.full((500, 100), 0.002)
        right = np.zeros(probabilities.shape, dtype=bool)
        said = draws.integers(100, size=500)
        probabilities[np.arange(500), said] = 0.9
        right[np.arange(500), said] = draws.random(500) < 0.7
        evaluation = found(probabilities, right, independent=True)
        assert evaluation.ece_width == pytest.approx(0.9 - right.sum() / 500)
        assert (evaluation.ece_width or 0) > 0.15
        assert (evaluation.confidence, evaluation.correct) == pytest.approx(
            (0.9, right.sum() / 500)
        )

    def test_nothing_is_answered(self) -> None:
        evaluation = found(np.full((4, 2), 0.1), np.eye(4, 2), independent=True)
        assert evaluation.ece_width is evaluation.confidence is evaluation.correct is None
        assert evaluation.coverage == []
        assert "ece_width" not in evaluation.intervals


class TestEdges:
    def test_one_text(self) -> None:
        evaluation = found([[0.25, 0.75]], [[0, 1]])
        assert (evaluation.accuracy, evaluation.texts) == (1, 1)
        assert evaluation.top == {1: 1}
        assert evaluation.ece_width == evaluation.ece_mass == pytest.approx(0.25)
        assert evaluation.brier == pytest.approx(2 * 0.25**2)
        assert [(each.kept, each.accuracy) for each in evaluation.coverage] == [(1, 1)]
        assert evaluation.intervals["nll"] == pytest.approx((-math.log(0.75),) * 2)

    def test_one_label(self) -> None:
        evaluation = found([[1.0], [1.0]], [[1], [1]])
        assert (evaluation.accuracy, evaluation.nll, evaluation.macro_f1) == (1, 0, 1)

    def test_all_right_and_certain(self) -> None:
        evaluation = found(np.eye(3), np.eye(3))
        assert (evaluation.accuracy, evaluation.macro_f1, evaluation.nll) == (1, 1, 0)
        assert evaluation.ece_width == evaluation.ece_mass == evaluation.brier == 0
        assert evaluation.confusions == []
        assert evaluation.intervals == dict.fromkeys(FIGURES, (0, 0)) | {"accuracy": (1, 1)}

    def test_wrong_and_certain_is_bad_but_finite(self) -> None:
        evaluation = found([[1.0, 0.0]], [[0, 1]])
        assert evaluation.nll == pytest.approx(-math.log(1e-12))
        assert evaluation.ece_width == 1

    def test_of_equals_the_first_is_predicted(self) -> None:
        evaluation = found([[0.4, 0.4, 0.2]] * 2, [[1, 0, 0], [0, 1, 0]])
        assert evaluation.accuracy == evaluation.top[1] == 0.5

    def test_labels_that_no_text_has(self) -> None:
        evaluation = found([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1]], [[1, 0, 0], [0, 1, 0]])
        first, second, third = evaluation.of_labels
        assert (first.precision, first.recall) == (0.5, 1)
        assert (second.precision, second.recall, second.f1) == (None, 0, 0)
        assert (third.precision, third.recall, third.f1, third.support) == (None, None, None, 0)
        assert evaluation.macro_f1 == pytest.approx((2 / 3 + 0) / 2)  # as scikit-learn has it
        assert evaluation.macro_f1 == pytest.approx(
            metrics.f1_score([0, 1], [0, 0], average="macro")
        )

    def test_float32_probabilities(self) -> None:
        probabilities, right = scored(50, 4)
        single = found(probabilities.astype(np.float32), right)
        assert single.nll == pytest.approx(found(probabilities, right).nll, rel=1e-5)

    def test_many_labels_have_a_matrix_of_those_confused_most(self) -> None:
        evaluation = found(*scored(500, 100))
        assert evaluation.matrix is not None
        assert len(evaluation.matrix.labels) == len(set(evaluation.matrix.labels)) == 14
        first = evaluation.confusions[0]
        assert evaluation.matrix.labels[:2] == [first.right, first.predicted]
        support = {each.label: each.support for each in evaluation.of_labels}
        for label, row, others in zip(
            evaluation.matrix.labels,
            evaluation.matrix.counts,
            evaluation.matrix.others,
            strict=True,
        ):
            assert sum(row) + others == support[label]
        assert max(evaluation.matrix.others) > 0

    @pytest.mark.parametrize(
        ("probabilities", "right", "message"),
        [
            (np.empty((0, 2)), np.empty((0, 2), bool), "no texts"),
            (np.full((2, 2), np.nan), np.eye(2, dtype=bool), "2 texts have no probabilities"),
            (np.full((2, 2), 0.5), np.ones((2, 2), bool), "one right label"),
            (np.full((2, 2), 0.5), np.zeros((2, 2), bool), "one right label"),
            (np.full((2, 3), 0.5), np.eye(2, dtype=bool), "do not match 2 labels"),
        ],
    )
    def test_what_cannot_be_evaluated(
        self, probabilities: Floats, right: Bools, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            evaluate(probabilities, right, names(2))


class TestCalibrationError:
    @pytest.mark.parametrize("independent", [False, True])
    @pytest.mark.parametrize("texts", [1, 7, 400])
    def test_plain_loops_agree(self, texts: int, independent: bool) -> None:
        data = scored(texts, 5, seed=texts, independent=independent)
        evaluation = found(*data, independent=independent)
        pairs = sorted(confidences(*data, independent=independent))
        wide: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
        for confidence, correct in pairs:
            wide[math.ceil(confidence * 15) - 1].append((confidence, correct))
        assert evaluation.ece_width == pytest.approx(error_of(wide))
        assert [each.count for each in evaluation.bins] == list(map(len, wide))
        edges = [len(pairs) * i // 15 for i in range(16)]
        mass = [pairs[a:b] for a, b in pairwise(edges)]
        assert evaluation.ece_mass == pytest.approx(error_of(mass))
        assert evaluation.confidence == pytest.approx(sum(c for c, _ in pairs) / len(pairs))
        assert evaluation.correct == pytest.approx(sum(r for _, r in pairs) / len(pairs))

    def test_bins_have_their_upper_edge(self) -> None:
        confidence = np.array([0.0, 0.5, 0.500001, 1.0])
        bins = bins_of_width(confidence, np.ones(4, bool), bins=2)
        assert [each.count for each in bins] == [2, 2]
        assert bins[0].confidence == 0.25

    def test_equals_share_a_bin(self) -> None:
        confidence = np.array([0.9] * 10)
        correct = np.array([True] * 9 + [False])
        assert calibration_error(bins_of_mass(confidence, correct)) == pytest.approx(0)
        assert calibration_error(bins_of_width(confidence, correct)) == pytest.approx(0)

    @given(
        st.lists(st.tuples(st.sampled_from([0.5, 0.6, 0.75, 0.9, 1.0]), st.booleans()), min_size=1)
    )
    def test_every_prediction_has_one_bin_whatever_the_order(
        self, pairs: list[tuple[float, bool]]
    ) -> None:
        shuffled = random.Random(0).sample(pairs, len(pairs))
        for of in (bins_of_width, bins_of_mass):
            one, other = (
                of(np.array([c for c, _ in each]), np.array([r for _, r in each]))
                for each in (pairs, shuffled)
            )
            assert sum(bin_.count for bin_ in one) == len(pairs)
            assert [bin_.count for bin_ in one] == [bin_.count for bin_ in other]
            assert calibration_error(one) == pytest.approx(calibration_error(other))
            assert 0 <= (calibration_error(one) or 0) <= 1


class TestIntervals:
    @pytest.mark.parametrize("independent", [False, True])
    def test_resamples_give_what_evaluating_them_gives(self, independent: bool) -> None:
        probabilities, right = scored(60, 4, independent=independent)
        draws = np.random.default_rng(0).integers(60, size=(1000, 60))
        values = []
        for rows in draws:
            p, r = probabilities[rows], right[rows]
            said = predictions(p, independent=independent)
            gap = 0.0
            groups: dict[int, list[tuple[float, bool]]] = {}
            for confidence, correct in confidences(p, r, independent):
                groups.setdefault(math.ceil(confidence * 15), []).append((confidence, correct))
            gap = error_of(list(groups.values()))
            of_right = np.where(r, p, 1 - p) if independent else p[r][:, None]
            nll = -np.log(of_right).sum(axis=1).mean()
            values.append(
                ((said == r).all(axis=1).mean(), nll, ((p - r) ** 2).sum(axis=1).mean(), gap)
            )
        drawn = np.array(values)
        evaluation = found(probabilities, right, independent=independent)
        assert evaluation.ece_width is not None
        drawn[:, 3] -= drawn[:, 3].mean() - evaluation.ece_width  # chance counts once, not twice
        wanted = np.percentile(drawn, (2.5, 97.5), axis=0).T
        intervals = bootstrap_intervals(probabilities, right, independent=independent)
        for name, interval in zip(FIGURES, wanted, strict=True):
            assert intervals[name] == pytest.approx((max(interval[0], 0), interval[1]))

    @pytest.mark.parametrize("independent", [False, True])
    @pytest.mark.parametrize("seed", range(6))
    def test_an_interval_holds_its_figure(self, seed: int, independent: bool) -> None:
        probabilities, _ = scored(40, 5, seed=seed, independent=independent)
        draws = np.random.default_rng(seed)
        right = draws.random(probabilities.shape) < probabilities  # they are true
        if not independent:
            below = draws.random((40, 1)) < probabilities.cumsum(axis=1)
            right = np.eye(5, dtype=bool)[below.argmax(axis=1)]
        evaluation = found(probabilities, right, independent=independent)
        for name, (low, high) in evaluation.intervals.items():
            assert 0 <= low <= getattr(evaluation, name) <= high

    def test_width_is_that_of_the_binomial(self) -> None:
        evaluation = found(*scored(2000, 5))
        low, high = evaluation.intervals["accuracy"]
        assert evaluation.accuracy is not None
        wanted = 2 * 1.96 * math.sqrt(evaluation.accuracy * (1 - evaluation.accuracy) / 2000)
        assert low < evaluation.accuracy < high
        assert high - low == pytest.approx(wanted, rel=0.1)

    def test_thousands_of_texts_take_no_minutes(self) -> None:
        probabilities, right = scored(3000, 77)
        begin = time.process_time()
        bootstrap_intervals(probabilities, right, independent=True)
        assert time.process_time() - begin < 5


class TestWorst:
    def test_lowest_first(self) -> None:
        probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        right = np.array([[1, 0], [1, 0], [0, 1]], bool)
        assert worst_indices(probabilities, right, 2).tolist() == [1, 2]
        assert worst_indices(probabilities, right, 9).tolist() == [1, 2, 0]
        assert worst_indices(probabilities, right, 0).tolist() == []

    def test_texts(self) -> None:
        probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
        right = np.array([[1, 0], [1, 0]], bool)
        texts = [Pair("a", "b"), Pair("c", "d")]
        (only,) = worst_texts(texts, probabilities, right, ["x", "y"], 1)
        assert (only.index, only.text, only.text_pair) == (1, "c", "d")
        assert (only.right, only.predicted, only.probability) == (["x"], ["y"], 0.2)

    def test_independent_labels_count_what_is_missing_too(self) -> None:
        probabilities = np.array([[0.9, 0.2], [0.1, 0.97], [0.3, 0.1]])
        right = np.array([[1, 0], [0, 0], [1, 0]], bool)
        found = worst_texts(["a", "b", "c"], probabilities, right, ["x", "y"], 2, independent=True)
        assert [each.text for each in found] == ["b", "c"]
        assert (found[0].right, found[0].predicted) == ([], ["y"])
        assert found[0].probability == pytest.approx(0.03)
