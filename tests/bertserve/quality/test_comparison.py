"""Two models on the same texts, against plain loops."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from bertserve.errors import ConfigError
from bertserve.quality.comparison import compare, mcnemar
from bertserve.quality.evaluation import evaluate
from bertserve.quality.metrics.scoring_rules import Bools, Floats

LABELS = ["a", "b", "c", "d"]


def models(texts: int = 200, *, independent: bool = False) -> tuple[Floats, Floats, Bools]:
    draws = np.random.default_rng(1)
    if independent:
        right = draws.random((texts, 4)) < 0.4
        logits = draws.normal(size=right.shape) + 4 * right - 2
        other = logits + draws.normal(size=right.shape)
        return special.expit(logits), special.expit(other), right
    right = np.eye(4, dtype=bool)[draws.integers(4, size=texts)]
    logits = draws.normal(size=right.shape) + 2 * right
    other = logits + draws.normal(size=right.shape)
    return special.softmax(logits, axis=1), special.softmax(other, axis=1), right


class TestMcNemar:
    @given(st.integers(0, 60), st.integers(0, 60))
    def test_is_the_binomial_test_of_the_texts_that_one_has_right(self, b: int, c: int) -> None:
        ways = [math.comb(b + c, k) for k in range(b + c + 1)]
        tail = sum(ways[: min(b, c) + 1]) / 2 ** (b + c)
        assert mcnemar(b, c) == pytest.approx(min(1, 2 * tail))

    @pytest.mark.parametrize("independent", [False, True])
    def test_texts_are_counted(self, independent: bool) -> None:
        one, other, right = models(independent=independent)
        only_one = only_other = 0
        for p, q, truth in zip(one.tolist(), other.tolist(), right.tolist(), strict=True):
            if independent:
                by_one, by_other = ([x > 0.5 for x in row] == truth for row in (p, q))
            else:
                by_one, by_other = (truth[row.index(max(row))] for row in (p, q))
            only_one += by_one and not by_other
            only_other += by_other and not by_one
        found = compare(one, other, right, LABELS, independent=independent)
        assert only_one > only_other > 0
        assert (found.only_one, found.only_other) == (only_one, only_other)
        assert found.p_value == mcnemar(only_one, only_other)


class TestDifferences:
    @pytest.mark.parametrize("independent", [False, True])
    def test_are_those_of_the_evaluations(self, independent: bool) -> None:
        one, other, right = models(independent=independent)
        found = compare(one, other, right, LABELS, independent=independent)
        a, b = (evaluate(each, right, LABELS, independent=independent) for each in (one, other))
        first = "exact_match" if independent else "accuracy"
        assert set(found.differences) == {first, "nll", "brier", "ece_width"}
        for name, difference in found.differences.items():
            assert difference.value == pytest.approx(getattr(b, name) - getattr(a, name))
            assert difference.low < difference.value < difference.high
        json.dumps(dataclasses.asdict(found), allow_nan=False)

    def test_interval_is_that_of_pairs(self) -> None:
        one, other, right = models()
        found = compare(one, other, right, LABELS).differences["brier"]
        change = ((other - right) ** 2).sum(axis=1) - ((one - right) ** 2).sum(axis=1)
        wanted = 2 * 1.96 * change.std() / math.sqrt(len(change))
        assert found.high - found.low == pytest.approx(wanted, rel=0.1)

    def test_shifts(self) -> None:
        one, other, right = models()
        found = compare(one, other, right, LABELS)
        shifts = [
            abs(p - q)
            for a, b in zip(one.tolist(), other.tolist(), strict=True)
            for p, q in zip(a, b, strict=True)
        ]
        changed = sum(
            a.index(max(a)) != b.index(max(b))
            for a, b in zip(one.tolist(), other.tolist(), strict=True)
        )
        assert found.largest_shift == pytest.approx(max(shifts))
        assert found.mean_shift == pytest.approx(sum(shifts) / len(shifts))
        assert found.labels_changed == pytest.approx(changed / len(one))

    def test_a_model_does_not_differ_from_itself(self) -> None:
        one, _, right = models()
        found = compare(one, one, right, LABELS)
        assert (found.only_one, found.only_other, found.p_value) == (0, 0, 1)
        assert found.labels_changed == found.largest_shift == found.mean_shift == 0
        for difference in found.differences.values():
            assert dataclasses.astuple(difference) == (0, 0, 0)


class TestLabels:
    def test_come_in_any_order(self) -> None:
        one, other, right = models()
        order = [2, 0, 3, 1]
        shuffled = [LABELS[i] for i in order]
        assert compare(one, other[:, order], right, LABELS, other_labels=shuffled) == compare(
            one, other, right, LABELS
        )

    def test_thresholds_go_with_their_labels(self) -> None:
        one, other, right = models(independent=True)
        order = [2, 0, 3, 1]
        thresholds = [0.1, 0.3, 0.6, 0.8]
        straight = compare(one, other, right, LABELS, independent=True, other_thresholds=thresholds)
        assert straight == compare(
            one, other[:, order], right, LABELS,
            other_labels=[LABELS[i] for i in order],
            independent=True,
            other_thresholds=[thresholds[i] for i in order],
        )  # fmt: skip
        assert straight != compare(one, other, right, LABELS, independent=True)

    @pytest.mark.parametrize(
        ("labels", "named"),
        [(["a", "b", "c", "e"], r'\("d", "e", for one\)'), (["a", "b", "c"], r'\("d", for one\)'),
         (["a", "b", "c", "c"], r'\("d", for one\)'), (["a", "b", "c", "d", "d"], "different labels;")],
    )  # fmt: skip
    def test_other_ones_are_refused(self, labels: list[str], named: str) -> None:
        one, _, right = models()
        with pytest.raises(ConfigError, match=named):
            compare(one, np.full((len(one), len(labels)), 0.25), right, LABELS, other_labels=labels)
