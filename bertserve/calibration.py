"""From a model's folder and labelled texts to calibration.json, which `bertserve package` takes along.

    found = calibrate(Path("my-model"), Path("held-out.csv"))
    found["temperature"], found["provenance"]["after"]["ece_width"]

The texts must be such as the model was not trained on, for it is more confident, and more often right, on
those. All of them are used for the fit; what it brings is estimated by cross-validation: the texts are
parted into folds, and each is judged by what was fitted on the others.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.model_selection import KFold

from .archive import lay_out, model_config
from .errors import ConfigError
from .folder import FITTED_WITH, check_folder, classifies_pairs, read_labels, weights_digest
from .handler.calibration_file import FILE_NAME, FOR_INDEPENDENT_LABELS
from .handler.settings import Settings
from .judging import (
    Bools,
    Floats,
    bins_of_mass,
    bins_of_width,
    calibration_error,
    judged,
    negative_log_likelihood,
    predictions,
)
from .labelled import Columns, Labelled, read_labelled
from .levels import (
    set_level,
    threshold_for_coverage,
    threshold_for_precision,
    thresholds_for_precision,
)
from .scaling import apply, check_method, fit, learnable, plain
from .scoring import score_folder
from .scratch import appearing, scratch_folder

FOLDS = 5
_SEEN = 0.995  # accuracy from which on texts look like those of the training
_FEWEST = 50  # texts
_DIGITS = 6

Rows = NDArray[np.intp]
Numbers = dict[str, Any]
Report = Callable[[int, int], None]


def calibrate(
    model_dir: Path,
    data: Path,
    *,
    columns: Columns | None = None,
    method: str = "temperature",
    target_precision: float | None = None,
    target_coverage: float | None = None,
    set_coverage: float = 0.95,
    settings: Settings | None = None,
    report: Report = lambda _, __: None,
) -> Numbers:
    """Fit a calibration, write it into the folder as calibration.json, and return what it holds.

    method            temperature, vector; platt or isotonic where labels are independent
    target_precision  sets a threshold from which on a label is right so often; for each label where
                      they are independent
    target_coverage   sets a threshold that so large a share of the texts reaches
    set_coverage      how often a prediction set shall hold the right label
    settings          what the model will be packaged with
    report            is told how many texts are classified, and of how many

    ConfigError or PackageError says what is wrong with the options, the data, or the folder.
    """
    settings = settings or Settings()
    check_folder(model_dir)
    labels, activation = read_labels(model_dir)
    independent = activation == "sigmoid"
    check_method(method, independent=independent)
    _check_targets(target_precision, target_coverage, set_coverage, independent=independent)
    labelled = read_labelled(data, labels, independent=independent, columns=columns or Columns())
    if len(labelled.texts) < _FEWEST:
        raise ConfigError(
            f"{len(labelled.texts)} texts are too few to calibrate on; give {_FEWEST} or more"
        )
    if not labelled.right.any():
        raise ConfigError(f"no text of {data} has any label; give some that have")
    if not os.access(model_dir, os.W_OK):
        raise ConfigError(f"{model_dir} cannot be written to, and calibration.json belongs there")
    if classifies_pairs(model_dir) and not labelled.pairs:
        raise ConfigError(
            f"{model_dir} is a CrossEncoder or was calibrated on pairs, and {data} has no second texts; "
            f"give their column with --pair-column, or delete a former {model_dir / FILE_NAME}"
        )
    settings = replace(settings, pairs=labelled.pairs)
    logits = _score(model_dir, labelled, settings, report)

    def choose(probabilities: Floats, right: Bools) -> Numbers:
        return choose_levels(
            probabilities, right, target_precision, target_coverage, set_coverage, independent
        )

    found = fit_and_judge(logits, labelled.right, method, choose, independent=independent)
    if target_precision is not None and "threshold" in found and found["threshold"] is None:
        raise ConfigError(
            f"no threshold reaches a precision of {target_precision:g} on these texts for certain; "
            "ask for less, or give more texts"
        )
    told = learnable(labelled.right) | (method not in FOR_INDEPENDENT_LABELS)
    unfitted = [label for label, is_told in zip(labels, told.tolist(), strict=True) if not is_told]
    found["provenance"] |= {
        "data": labelled.source,
        "sha256": labelled.sha256,
        "weights": weights_digest(model_dir),
        "unfitted": unfitted,
        "settings": {name: getattr(settings, name) for name in FITTED_WITH},
    }
    _write(model_dir / FILE_NAME, found)
    return found


def fit_and_judge(
    logits: Floats,
    right: Bools,
    method: str,
    choose: Callable[[Floats, Bools], Numbers],
    *,
    independent: bool,
) -> Numbers:
    """A calibration fitted on all texts, its levels, and what both bring on texts they did not see.

    Levels are chosen on probabilities of texts that the calibration of their fold did not see, since a
    calibration flatters its own. Of independent labels that does not matter, for calibration keeps the
    order of a label's texts, and thresholds must suit the very steps of isotonic regression.
    """
    folds = list(KFold(FOLDS, shuffle=True, random_state=0).split(logits))
    fitted = [fit(logits[rows], right[rows], method, independent=independent) for rows, _ in folds]
    final = fit(logits, right, method, independent=independent)
    apart = np.empty_like(logits)
    for numbers, (_, own) in zip(fitted, folds, strict=True):
        apart[own] = apply(numbers, logits[own], independent=independent)

    def levels(numbers: Numbers, rows: Rows | slice) -> Numbers:
        own = apply(numbers, logits[rows], independent=True) if independent else apart[rows]
        return choose(own, right[rows])

    of_folds = [
        (levels(numbers, others), own) for numbers, (others, own) in zip(fitted, folds, strict=True)
    ]
    before = plain(logits, independent=independent)
    quality_before = quality(before, right, independent=independent)
    return {
        **final,
        **levels(final, slice(None)),
        "provenance": {
            "texts": len(right),
            "folds": FOLDS,
            "before": quality_before,
            "after": quality(apart, right, independent=independent),
            "looks_seen": _all_right(before, right, independent=independent) >= _SEEN,
            **_judge_levels(apart, right, of_folds),
        },
    }


def choose_levels(
    probabilities: Floats,
    right: Bools,
    precision: float | None,
    coverage: float | None,
    set_coverage: float,
    independent: bool,
) -> Numbers:
    """The levels of calibration.json, see handler/decisions.py; None is a level that nothing reaches.

    They are not rounded: they are probabilities of texts, which reach them.
    """
    if independent:
        if precision is None:
            return {}
        return {"thresholds": thresholds_for_precision(probabilities, right, precision)}
    level = set_level(probabilities, right, set_coverage)
    found: Numbers = {"sets": {"coverage": set_coverage, "level": level}}
    if precision is not None:
        found["threshold"] = threshold_for_precision(probabilities, right, precision)
    elif coverage is not None:
        found["threshold"] = threshold_for_coverage(probabilities, right, coverage)
    return found


def quality(probabilities: Floats, right: Bools, *, independent: bool) -> Numbers:
    """Negative log likelihood, calibration errors, confidence, and how much is right.

    That is the accuracy; where labels are independent the precision of those from one half on.
    """
    confidence, correct = judged(probabilities, right, independent=independent)
    found = {
        "nll": negative_log_likelihood(probabilities, right, independent=independent),
        "ece_width": calibration_error(bins_of_width(confidence, correct)),
        "ece_mass": calibration_error(bins_of_mass(confidence, correct)),
        "precision" if independent else "accuracy": correct.mean() if len(correct) else None,
        "confidence": confidence.mean() if len(correct) else None,
    }
    return {name: value if value is None else _rounded(value) for name, value in found.items()}


def _judge_levels(
    probabilities: Floats, right: Bools, folds: Sequence[tuple[Numbers, Rows]]
) -> Numbers:
    """What levels bring on texts that they were not chosen on: those of each fold on its own rows."""
    found: Numbers = {}
    if "threshold" in folds[0][0]:
        thresholds = _of_rows([(_above_all(levels["threshold"]), rows) for levels, rows in folds])
        confidence, correct = judged(probabilities, right, independent=False)
        found["threshold"] = _shares(confidence >= thresholds, correct, "coverage")
    if "thresholds" in folds[0][0]:
        each = [([*map(_above_all, levels["thresholds"])], rows) for levels, rows in folds]
        said = probabilities >= _of_rows(each)
        found["thresholds"] = {
            **_shares(said.ravel(), right.ravel(), "said"),
            "recall": _rounded(said[right].mean()),
        }
    if "sets" in folds[0][0]:
        level = _of_rows([(levels["sets"]["level"], rows) for levels, rows in folds])
        chosen = probabilities >= level[:, None]
        found["sets"] = {
            "coverage": _rounded((chosen & right).any(axis=1).mean()),
            "mean_size": _rounded(chosen.sum(axis=1).mean()),
            "empty": _rounded((~chosen.any(axis=1)).mean()),
        }
    return found


def _shares(chosen: Bools, correct: Bools, share: str) -> Numbers:
    """How many are chosen, how many of these correct, and its 95 % interval by Clopper and Pearson."""
    count, right = int(chosen.sum()), int(correct[chosen].sum())
    if not count:
        return {share: 0.0, "precision": None, "interval": None}
    interval = stats.binomtest(right, count).proportion_ci(0.95)
    return {
        share: _rounded(chosen.mean()),
        "precision": _rounded(right / count),
        "interval": [_rounded(interval.low), _rounded(interval.high)],
    }


def _all_right(probabilities: Floats, right: Bools, *, independent: bool) -> float:
    """Share of texts whose labels are all right."""
    predicted = predictions(probabilities, independent=independent)
    return float((predicted == right).all(axis=1).mean())


def _above_all(level: float | None) -> float:
    return math.inf if level is None else level


def _of_rows(folds: Sequence[tuple[Any, Rows]]) -> Any:
    """What each fold has, at its rows: [texts] or [texts, labels]."""
    order = np.argsort(np.concatenate([rows for _, rows in folds]))
    return np.concatenate([np.repeat([value], len(rows), axis=0) for value, rows in folds])[order]


def _score(model_dir: Path, labelled: Labelled, settings: Settings, report: Report) -> Floats:
    """Logits by the code that serves, of an archive that is built for it."""
    with scratch_folder("calibrate") as scratch:
        root = scratch / "archive"
        lay_out(model_dir, root, "calibrate", "0", model_config(1, 1, 1, settings))
        (root / "model" / FILE_NAME).unlink(missing_ok=True)  # of a former calibration
        total = len(labelled.texts)
        return score_folder(root, labelled.texts, lambda done: report(done, total)).logits


def _check_targets(
    precision: float | None, coverage: float | None, set_coverage: float, *, independent: bool
) -> None:
    if precision is not None and coverage is not None:
        raise ConfigError("there is one threshold: give a target precision or a target coverage")
    if independent and coverage is not None:
        raise ConfigError("labels that are independent take a target precision, no coverage")
    for share in (precision, coverage, set_coverage):
        if share is not None and not 0 < share < 1:
            raise ConfigError(f"{share:g} will not do for a precision or coverage; give 0.95, say")


def _write(path: Path, found: Numbers) -> None:
    with appearing(path) as partial:
        partial.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    return np.round(value, _DIGITS).tolist()
