"""How good a model is on labelled texts: one that is served, or an archive on this machine.

judged = judge(archived(Path("model_store/support-1.0.mar")), Path("test.csv"))
judged.evaluation.accuracy, judged.evaluation.ece_width
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Unpack

from ..archives import inspect
from ..clients import Options
from ..errors import ConfigError, PackageError
from ..inputs import Input
from ..serving import Server
from .calibration import kept, sets
from .comparison import Comparison, reordering
from .comparison import compare as compare_probabilities
from .datasets import Columns, Labelled, read_labelled
from .evaluation import Evaluation, evaluate
from .metrics import Bools, Floats, Worst, worst_texts
from .scores import Scores, score_archive, score_served

# told how many texts are done, and of how many
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Model:
    """A model that can score texts; `facts` are its name, version, labels, activation and more."""

    facts: dict[str, Any]
    score: Callable[[Sequence[Input], Callable[[int], None]], Scores]

    @property
    def labels(self) -> list[str]:
        """Names in the order of the model's outputs."""
        return list(self.facts["labels"])

    @property
    def independent(self) -> bool:
        """Whether a text may have any number of labels."""
        return bool(self.facts["activation"] == "sigmoid")

    @property
    def thresholds(self) -> list[float] | None:
        """Those of independent labels, where the model has some; infinite where never reached."""
        found = self.facts["calibration"].get("thresholds") if self.independent else None
        return found and [math.inf if level is None else as_compared(level) for level in found]


def as_compared(level: float) -> float:
    """A level as the handler compares it, in float32 as its probabilities are."""
    return float(np.float32(level))


@dataclass(frozen=True)
class Judged:
    """A model on labelled texts.

    decisions       what the archive's threshold keeps and its prediction sets hold, of these texts
    probabilities   float64 [texts, labels]
    """

    model: Model
    labelled: Labelled
    evaluation: Evaluation
    decisions: dict[str, Any]
    probabilities: Floats

    @property
    def fitted_on_these(self) -> bool:
        """Whether the model's calibration was fitted on this very file, so that it flatters itself."""
        origin = self.model.facts["calibration"].get("provenance", {})
        return bool(origin.get("sha256") == self.labelled.sha256)

    @property
    def fitted_on_others(self) -> dict[str, Any]:
        """How texts were read that the calibration was fitted on, as far as these were read otherwise."""
        fitted = self.model.facts["calibration"].get("provenance", {}).get("settings", {})
        asked = self.model.facts["options"]
        return {k: fitted[k] for k in asked if k in fitted and fitted[k] != asked[k]}


def archived(archive: Path, **options: Unpack[Options]) -> Model:
    """The model of an archive, which scores texts by its own handler.

    options   how texts are read and answered, where that is not as packaged: `max_length`, `long_text`,
              `calibrated`
    """
    found = inspect(archive)
    if not found["intact"]:
        raise PackageError(f"{archive} is damaged; build it again")
    names = ("name", "version", "labels", "activation", "precision", "calibration", "sha256")
    facts = {name: found[name] for name in names}
    return Model(
        {
            "source": archive.name,
            "pairs": found["settings"].get("pairs", False),
            **_as_asked(facts, options),
        },
        lambda texts, report: score_archive(archive, texts, report, **options),
    )


def served(
    server: Server, name: str, version: str | None = None, **options: Unpack[Options]
) -> Model:
    """A model that is served, over HTTP; options are those of `archived`."""
    with server.client(name, version=version) as client:
        description = client.describe()
    names = ("version", "labels", "activation", "precision", "calibration", "pairs")
    facts = {each: getattr(description, each) for each in names}

    def score(texts: Sequence[Input], report: Callable[[int], None]) -> Scores:
        with server.client(name, version=description.version) as client:
            return score_served(client, texts, report, **options)

    source = {"source": server.addresses.inference, "name": name}
    return Model({**source, **_as_asked(facts, options)}, score)


def _as_asked(facts: dict[str, Any], options: Options) -> dict[str, Any]:
    """Facts of a model that is asked with options; without calibration it has no levels either."""
    calibrated = options.get("calibrated", True)
    of_probabilities = {} if calibrated else {"calibration": {"method": "none"}}
    return {**facts, **of_probabilities, "options": dict(options)}


def check_apart(one: Model, other: Model) -> None:
    """ConfigError where a model would be compared with itself."""
    names = ("source", "name", "version") if "sha256" not in one.facts else ("sha256",)
    if all(one.facts.get(name) == other.facts.get(name) for name in names):
        raise ConfigError(
            f"{one.facts['name']} {one.facts['version']} would be compared with itself; "
            "name another archive, or another version as NAME@VERSION"
        )


def compare(one: Judged, other: Judged) -> Comparison:
    """What sets two models apart; ConfigError where their labels are not the same."""
    if one.model.independent != other.model.independent:
        raise ConfigError(
            "the labels of one model are independent, those of the other are not; "
            "compare models of one kind"
        )
    return compare_probabilities(
        one.probabilities,
        other.probabilities,
        one.labelled.right,
        one.model.labels,
        other_labels=other.model.labels,
        independent=one.model.independent,
        thresholds=one.model.thresholds,
        other_thresholds=other.model.thresholds,
    )


def worst(judged: Judged, count: int) -> list[Worst]:
    """The texts whose right labels got the lowest probabilities."""
    return worst_texts(
        judged.labelled.texts,
        judged.probabilities,
        judged.labelled.right,
        judged.model.labels,
        count,
        independent=judged.model.independent,
        thresholds=judged.model.thresholds,
    )


def mistakes(judged: Judged, right: str | None = None, predicted: str | None = None) -> list[Worst]:
    """The texts that did not get their right labels, the worst first.

    right, predicted   only those that have the one, and were given the other
    """
    return [
        each
        for each in worst(judged, len(judged.labelled.texts))
        if each.right != each.predicted
        and (right is None or right in each.right)
        and (predicted is None or predicted in each.predicted)
    ]


def judge(
    model: Model,
    data: Path,
    columns: Columns | None = None,
    report: Report = lambda _, __: None,
    labels: Sequence[str] | None = None,
) -> Judged:
    """Score the texts of a file, and evaluate; ConfigError names the line that is wrong.

    `labels` are what numbers in the file mean, if not the model's own in their order.
    """
    numbered = labels or model.labels
    order = reordering(numbered, model.labels)
    labelled = read_labelled(
        data, numbered, independent=model.independent, columns=columns or Columns()
    )
    if model.facts.get("pairs") and not labelled.pairs:
        raise ConfigError(
            f"{model.facts['name']} classifies pairs, and {data} has no second texts; "
            "give their column with --pair-column"
        )
    labelled = replace(labelled, right=labelled.right[:, order])
    total = len(labelled.texts)
    scores = model.score(labelled.texts, lambda done: report(done, total))
    found = evaluate(
        scores.probabilities,
        labelled.right,
        model.labels,
        independent=model.independent,
        thresholds=model.thresholds,
    )
    decisions = _decisions(model.facts["calibration"], scores.probabilities, labelled.right)
    return Judged(model, labelled, found, decisions, scores.probabilities)


def _decisions(levels: dict[str, Any], probabilities: Floats, right: Bools) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if threshold := levels.get("threshold"):
        answered = kept(probabilities, right, as_compared(threshold))
        found["threshold"] = {"level": threshold, **asdict(answered)}
    if wanted := levels.get("sets"):
        held = asdict(sets(probabilities, right, as_compared(wanted["level"])))
        found["sets"] = {"wanted": wanted["coverage"], **held}
    if thresholds := levels.get("thresholds"):
        said = probabilities >= [math.inf if t is None else as_compared(t) for t in thresholds]
        found["thresholds"] = {
            "said": int(said.sum()),
            "precision": float(right[said].mean()) if said.any() else None,
            "recall": float(said[right].mean()) if right.any() else None,
            "never": [t is None for t in thresholds].count(True),
        }
    return found
