"""From a model's folder and labelled texts to calibration.json, which `bertserve package` takes along.

    found = calibrate(Path("my-model"), Path("held-out.csv"))
    found["temperature"], found["provenance"]["after"]["ece_width"]

The texts must be such as the model was not trained on, for it is more confident, and more often right, on
those. All of them are used for the fit; what it brings is estimated by cross-validation: the texts are
parted into folds, and each is judged by what was fitted on the others.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...archives import (
    FITTED_WITH,
    check_folder,
    classifies_pairs,
    lay_out,
    model_config,
    read_labels,
    weights_digest,
)
from ...errors import ConfigError
from ...handler.probabilities import (
    CALIBRATION_FILE,
    FOR_INDEPENDENT_LABELS,
    Calibration,
    Decisions,
    activate,
)
from ...handler.settings import Settings
from ...system import appearing, scratch_folder
from ..datasets import Columns, Labelled, read_labelled
from ..metrics import Bools, Floats
from ..scores import score_folder
from .fitting import ALL, Numbers, fit_and_judge
from .scaling import check_method, learnable
from .thresholds import choose_levels

_FEWEST = 50  # texts
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of probabilities that are kept for later

Report = Callable[[int, int], None]


def calibrate(
    model_dir: Path,
    data: Path,
    *,
    columns: Columns | None = None,
    method: str = "temperature",
    target_precision: float | None = None,
    target_coverage: float | None = None,
    thresholds: str | None = None,
    set_coverage: float = 0.95,
    settings: Settings | None = None,
    report: Report = lambda _, __: None,
) -> Numbers:
    """Fit a calibration, write it into the folder as calibration.json, and return what it holds.

    method            temperature, vector; platt or isotonic where labels are independent; all, for the
                      one that cross-validation finds best
    target_precision  sets a threshold from which on a label is right so often; for each label where
                      they are independent
    target_coverage   sets a threshold that so large a share of the texts reaches
    thresholds        f1 sets for each independent label the threshold that has the greatest F1
    set_coverage      how often a prediction set shall hold the right label
    settings          what the model will be packaged with
    report            is told how many texts are classified, and of how many

    ConfigError or PackageError says what is wrong with the options, the data, or the folder.
    """
    settings = settings or Settings()
    check_folder(model_dir)
    labels, activation = read_labels(model_dir)
    independent = activation == "sigmoid"
    if method != ALL:
        check_method(method, independent=independent)
    _check_targets(target_precision, target_coverage, set_coverage, independent=independent)
    _check_thresholds(thresholds, target_precision, independent=independent)
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
            f"give their column with --pair-column, or delete a former {model_dir / CALIBRATION_FILE}"
        )
    settings = replace(settings, pairs=labelled.pairs)
    logits = _score(model_dir, labelled, settings, report)

    def choose(probabilities: Floats, right: Bools) -> Numbers:
        return choose_levels(
            probabilities,
            right,
            target_precision,
            target_coverage,
            set_coverage,
            independent,
            f1=thresholds is not None,
        )

    found = fit_and_judge(
        logits,
        labelled.right,
        method,
        choose,
        independent=independent,
        out_of_fold=None if thresholds is None else True,
    )
    if target_precision is not None and "threshold" in found and found["threshold"] is None:
        raise ConfigError(
            f"no threshold reaches a precision of {target_precision:g} on these texts for certain; "
            "ask for less, or give more texts"
        )
    told = learnable(labelled.right) | (found["method"] not in FOR_INDEPENDENT_LABELS)
    unfitted = [label for label, is_told in zip(labels, told.tolist(), strict=True) if not is_told]
    found["provenance"] |= {
        "data": labelled.source,
        "sha256": labelled.sha256,
        "weights": weights_digest(model_dir),
        "unfitted": unfitted,
        "settings": {name: getattr(settings, name) for name in FITTED_WITH},
        "predicted": _predicted(logits, found, labels, activation),
    }
    _write(model_dir / CALIBRATION_FILE, found)
    return found


def _score(model_dir: Path, labelled: Labelled, settings: Settings, report: Report) -> Floats:
    """Logits by the code that serves, of an archive that is built for it."""
    with scratch_folder("calibrate") as scratch:
        root = scratch / "archive"
        lay_out(model_dir, root, "calibrate", "0", model_config(1, 1, 1, settings))
        (root / "model" / CALIBRATION_FILE).unlink(missing_ok=True)  # of a former calibration
        total = len(labelled.texts)
        return score_folder(root, labelled.texts, lambda done: report(done, total)).logits


def _predicted(
    logits: Floats, found: Numbers, labels: Sequence[str], activation: str
) -> dict[str, Any]:
    """Shares of labels, and quantiles of the highest probability, to hold what is met later against."""
    import torch

    probabilities = activate(
        Calibration(found, len(labels), activation)(torch.from_numpy(logits)), activation
    )
    decided = Decisions(labels, activation, found)(probabilities)
    counts = Counter(
        label
        for each in decided
        for label in (each.labels if each.labels is not None else [each.label])
        if label is not None
    )
    highest = probabilities.amax(dim=1).numpy()
    return {
        "labels": {label: count / len(decided) for label, count in counts.most_common()},
        "probability": {
            f"{each:g}": round(float(np.quantile(highest, each)), 3) for each in QUANTILES
        },
    }


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


def _check_thresholds(wanted: str | None, precision: float | None, *, independent: bool) -> None:
    if wanted is None:
        return
    if wanted != "f1":
        raise ConfigError(f"thresholds for {wanted} are not known; give f1, or a target precision")
    if not independent:
        raise ConfigError(
            "thresholds of labels are for those that are independent; of labels of which one is right "
            "the most probable is answered, from a target precision or coverage on"
        )
    if precision is not None:
        raise ConfigError("a label has one threshold: give a target precision or thresholds for f1")


def _write(path: Path, found: Numbers) -> None:
    with appearing(path) as partial:
        partial.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
