import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from sklearn.metrics import f1_score, log_loss

import tiny
from bertserve.archives.inspection import golden, inspect
from bertserve.archives.packaging import package
from bertserve.errors import ConfigError, PackageError
from bertserve.handler.probabilities import CALIBRATION_FILE
from bertserve.handler.probabilities.decisions import Decisions
from bertserve.handler.settings import Settings
from bertserve.inputs import Pair
from bertserve.quality.calibration.calibrator import calibrate
from bertserve.quality.calibration.fitting import CrossFit, choose_method, fit_and_judge, quality
from bertserve.quality.calibration.scaling import apply, plain
from bertserve.quality.calibration.thresholds import choose_levels
from bertserve.quality.scores import score_archive

TEXTS = [f"{first} {second}" for first in tiny.WORDS[:12] for second in tiny.WORDS[10:20]]


@pytest.fixture
def folder(model_dir: Path, tmp_path: Path) -> Path:
    return shutil.copytree(model_dir, tmp_path / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "held-out.csv")


@pytest.fixture(scope="module")
def calibrated(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with its calibration; tests copy it before they change it."""
    root = tmp_path_factory.mktemp("calibrated")
    folder = shutil.copytree(model_dir, root / "model")
    calibrate(folder, write_data(root / "held-out.csv"))
    return folder


def write_data(path: Path) -> Path:
    lines = (f"{text},{tiny.LABELS[number % 3]}" for number, text in enumerate(TEXTS))
    path.write_text("text,label\n" + "\n".join(lines))
    return path


def too_sure(texts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are three times what they should be, and right labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (texts, 6))
    drawn = random.random((texts, 1)) < special.softmax(logits, axis=1).cumsum(axis=1)
    return logits * 3, np.eye(6, dtype=bool)[drawn.argmax(axis=1)]


def no_levels(_: Any, __: Any) -> dict[str, Any]:
    return {}


def test_what_it_brings_is_told_of_texts_that_it_did_not_see() -> None:
    logits, right = too_sure(3000)
    found = fit_and_judge(logits, right, "temperature", no_levels, independent=False)
    origin = found["provenance"]
    fresh, truth = too_sure(20000, seed=1)
    after = quality(apply(found, fresh, independent=False), truth, independent=False)
    assert origin["before"]["ece_width"] > 0.15
    assert origin["after"]["nll"] == pytest.approx(after["nll"], rel=0.05)
    assert after["ece_width"] < 0.02
    assert origin["after"]["ece_width"] < 0.03
    assert origin["after"]["accuracy"] == origin["before"]["accuracy"]
    truly = log_loss(truth.argmax(axis=1), special.softmax(fresh / 3, axis=1))
    assert after["nll"] == pytest.approx(truly, rel=0.01)


def test_cross_validation_does_not_flatter() -> None:
    """Vector scaling has many numbers: on few texts it learns them by heart."""
    logits, right = too_sure(120)
    found = fit_and_judge(logits, right, "vector", no_levels, independent=False)
    flattered = quality(apply(found, logits, independent=False), right, independent=False)
    fresh, truth = too_sure(20000, seed=1)
    honest = quality(apply(found, fresh, independent=False), truth, independent=False)["nll"]
    told = found["provenance"]["after"]["nll"]
    assert flattered["nll"] < honest
    assert abs(told - honest) < abs(flattered["nll"] - honest)


def test_a_folder_gets_its_calibration(folder: Path, data: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = calibrate(
        folder, data, target_coverage=0.5, report=lambda done, total: seen.append((done, total))
    )
    assert json.loads((folder / CALIBRATION_FILE).read_text()) == found
    assert found["method"] == "temperature"
    assert found["sets"]["coverage"] == 0.95
    origin = found["provenance"]
    # of 120 texts, by levels that were chosen on others: five standard deviations each
    assert origin["threshold"]["coverage"] == pytest.approx(0.5, abs=0.3)
    assert origin["sets"]["coverage"] == pytest.approx(0.95, abs=0.14)
    assert (origin["data"], origin["texts"], origin["looks_seen"]) == ("held-out.csv", 120, False)
    # what later texts are held against: about one half is answered, as that was asked for
    assert sum(origin["predicted"]["labels"].values()) == pytest.approx(0.5, abs=0.3)
    assert set(origin["predicted"]["labels"]) <= set(tiny.LABELS)
    quantiles = list(origin["predicted"]["probability"].values())
    assert quantiles == sorted(quantiles)
    assert quantiles[2] == pytest.approx(found["threshold"], abs=0.01)
    assert seen[-1] == (120, 120)
    assert calibrate(folder, data, target_coverage=0.5) == found  # of the same logits, not its own


def test_an_archive_takes_it_along(calibrated: Path, tmp_path: Path) -> None:
    found = json.loads((calibrated / CALIBRATION_FILE).read_text())
    archive = package(calibrated, name="t", version="1", output=tmp_path / "store")
    assert inspect(archive)["calibration"] == found
    with zipfile.ZipFile(archive) as contents:
        assert json.loads(contents.read("model/calibration.json")) == found
        golden = json.loads(contents.read("golden.json"))
    plain = package(
        shutil.copytree(
            calibrated, tmp_path / "plain", ignore=shutil.ignore_patterns(CALIBRATION_FILE)
        ),
        name="t",
        version="2",
        output=tmp_path / "store",
    )
    with zipfile.ZipFile(plain) as contents:
        assert json.loads(contents.read("golden.json")) != golden
    assert inspect(plain)["calibration"] == {"method": "none"}


def test_other_weights_need_another_calibration(calibrated: Path, tmp_path: Path) -> None:
    folder = tiny.make_model(shutil.copytree(calibrated, tmp_path / "model"), seed=1)
    with pytest.raises(PackageError, match=r"other weights; run `bertserve calibrate` again, or "):
        package(folder, name="t", version="1", output=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(max_length=32), "with max_length None, not 32"),
        (Settings(long_text="chunks"), "with long_text truncate, not chunks"),
    ],
)
def test_other_settings_need_another_calibration(
    calibrated: Path, tmp_path: Path, settings: Settings, message: str
) -> None:
    with pytest.raises(PackageError, match=message):
        package(calibrated, name="t", version="1", output=tmp_path, settings=settings)


def test_a_former_calibration_that_is_spoilt_is_replaced(folder: Path, data: Path) -> None:
    (folder / CALIBRATION_FILE).write_text("{")
    found = calibrate(folder, data)
    assert json.loads((folder / CALIBRATION_FILE).read_text()) == found


@pytest.mark.parametrize("certainty", [12.0, 40.0])
def test_levels_suit_a_model_that_is_very_sure(certainty: float) -> None:
    """As float32 has them: nearly 1, and nearly 0."""
    random = np.random.default_rng(0)
    right = np.eye(6, dtype=bool)[random.integers(0, 6, 2000)]
    logits = right * (certainty + random.normal(0, 1, (2000, 1)))
    logits[:20] = np.roll(logits[:20], 1, axis=1)  # one in a hundred is wrong
    probabilities = plain(logits, independent=False)
    for coverage in (0.95, 0.995):
        found = choose_levels(probabilities, right, None, 0.9, coverage, False)
        decisions = Decisions([*"abcdef"], "softmax", found)(
            torch.from_numpy(probabilities).float()
        )
        answered = np.mean([each.label is not None for each in decisions])
        assert answered >= 0.9
        held = [
            "abcdef"[truth.argmax()] in (each.chosen or ())
            for each, truth in zip(decisions, right, strict=True)
        ]
        assert np.mean(held) >= coverage - 0.001


def test_thresholds_suit_the_steps_of_isotonic_regression() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (1000, 3))
    right = random.random(logits.shape) < special.expit(logits)

    def levels(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        return choose_levels(probabilities, truth, 0.8, None, 0.95, True)

    found = fit_and_judge(logits, right, "isotonic", levels, independent=True)
    fresh = random.normal(0, 2, (20_000, 3))
    truth = random.random(fresh.shape) < special.expit(fresh)
    said = apply(found, fresh, independent=True) >= np.array(found["thresholds"])
    assert truth[said].mean() > 0.8
    assert truth[said].mean() == pytest.approx(
        found["provenance"]["thresholds"]["precision"], abs=0.03
    )
    assert said.mean() > 0.2


def test_all_methods_are_tried_on_the_same_folds_and_one_is_taken(folder: Path, data: Path) -> None:
    found = calibrate(folder, data, method="all")
    origin = found["provenance"]
    assert list(origin["methods"]) == ["temperature", "vector"]
    assert origin["after"] == origin["methods"][found["method"]]
    assert origin["reason"].startswith(f"{found['method']} is taken: ")
    for method, figures in origin["methods"].items():
        assert figures == calibrate(folder, data, method=method)["provenance"]["after"]


@pytest.mark.parametrize(
    ("spoilt", "texts", "method", "reason"),
    [
        (lambda logits: logits, 3000, "temperature", "it has the least negative log likelihood"),
        (lambda logits: logits * [1, 1, 1, 2, 3, 0.5], 3000, "vector", "it has the least"),
    ],
)
def test_the_best_method_is_taken(spoilt: Any, texts: int, method: str, reason: str) -> None:
    """On texts that the fits did not see: what learns more is not better for that."""
    logits, right = too_sure(texts)
    found = fit_and_judge(spoilt(logits), right, "all", no_levels, independent=False)
    assert found["method"] == method
    assert reason in found["provenance"]["reason"]


def test_the_method_that_has_less_to_learn_is_taken_where_texts_do_not_tell() -> None:
    right = np.eye(2, dtype=bool)[[0, 1] * 50]
    probabilities = np.where(right, 0.8, 0.2)
    better = probabilities.copy()
    better[0] = np.where(right[0], 0.9, 0.1)  # of one text of a hundred, and of one a little worse
    better[1] = np.where(right[1], 0.75, 0.25)
    crossed = {
        "temperature": CrossFit([], [], probabilities),
        "vector": CrossFit([], [], better),
    }
    chosen, reason = choose_method(crossed, right, independent=False)
    assert chosen == "temperature"
    assert "vector has the least" in reason
    assert "within a standard error of it with 0.2231, and has less to learn" in reason
    clearly = {**crossed, "vector": CrossFit([], [], np.where(right, 0.9, 0.1))}
    assert choose_method(clearly, right, independent=False)[0] == "vector"


@pytest.mark.parametrize("method", ["all", "platt", "isotonic"])
def test_thresholds_have_the_greatest_f1(method: str) -> None:
    """On texts that neither calibration nor thresholds saw."""
    random = np.random.default_rng(0)

    def drawn(texts: int) -> tuple[np.ndarray, np.ndarray]:
        logits = random.normal(-2.5, 2, (texts, 3))
        return logits * 2, random.random(logits.shape) < special.expit(logits)

    def levels(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
        return choose_levels(probabilities, truth, None, None, 0.95, True, f1=True)

    logits, right = drawn(3000)
    found = fit_and_judge(logits, right, method, levels, independent=True, out_of_fold=True)
    fresh, truth = drawn(30_000)
    probabilities = apply(found, fresh, independent=True)

    def macro(thresholds: Any) -> float:
        return float(f1_score(truth, probabilities >= np.array(thresholds), average="macro"))

    told = found["provenance"]["thresholds"]
    best = max(macro([level] * 3) for level in np.linspace(0.05, 0.95, 46))
    assert macro(found["thresholds"]) == pytest.approx(best, abs=0.02)
    assert macro(found["thresholds"]) > macro([0.5] * 3) + 0.03
    assert told["macro_f1"] == pytest.approx(macro(found["thresholds"]), abs=0.03)
    assert told["macro_f1_at_half"] == pytest.approx(macro([0.5] * 3), abs=0.04)
    Decisions([*"abc"], "sigmoid", found)


def test_independent_labels_of_a_folder_get_thresholds_for_f1(tmp_path: Path) -> None:
    folder = tiny.make_model(tmp_path / "model", problem_type="multi_label_classification")
    data = tmp_path / "t.csv"
    lines = (f"{text},{n % 2},{int(n % 3 == 0)},0" for n, text in enumerate(TEXTS))
    data.write_text(f"text,{','.join(tiny.LABELS)}\n" + "\n".join(lines))
    found = calibrate(folder, data, method="all", thresholds="f1")
    origin = found["provenance"]
    assert list(origin["methods"]) == ["temperature", "platt", "isotonic"]
    assert found["thresholds"][2] == 0.5
    assert all(0 < level < 1 for level in found["thresholds"])
    assert 0 < origin["thresholds"]["macro_f1"] <= 1
    assert json.loads((folder / CALIBRATION_FILE).read_text()) == found
    Decisions(tiny.LABELS, "sigmoid", found)
    with pytest.raises(ConfigError, match="a label has one threshold"):
        calibrate(folder, data, target_precision=0.9, thresholds="f1")


def test_a_label_that_no_text_has_keeps_the_usual_threshold() -> None:
    probabilities = np.array([[0.2, 0.3], [0.6, 0.7]])
    right = np.array([[False, False], [True, False]])
    found = choose_levels(probabilities, right, None, None, 0.95, True, f1=True)
    assert found["thresholds"] == pytest.approx([0.4, 0.5])


def test_a_calibration_that_was_written_by_hand(folder: Path, tmp_path: Path) -> None:
    (folder / CALIBRATION_FILE).write_text('{"method": "temperature", "temperature": 2}')
    archive = package(folder, name="t", version="1", output=tmp_path)
    assert inspect(archive)["calibration"] == {"method": "temperature", "temperature": 2}


def test_texts_of_the_training_are_noticed() -> None:
    """The model is right on them."""
    logits, right = too_sure(200)
    by_heart = np.eye(6, dtype=bool)[logits.argmax(axis=1)]
    for truth, seen in ((right, False), (by_heart, True)):
        found = fit_and_judge(logits, truth, "temperature", no_levels, independent=False)
        assert found["provenance"]["looks_seen"] == seen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "known are temperature"),
        ({"method": "platt"}, "independent; take temperature"),
        ({"target_precision": 0.9, "target_coverage": 0.9}, "there is one threshold"),
        ({"target_precision": 98}, "98 will not do"),
        ({"set_coverage": 1}, "1 will not do"),
        ({"thresholds": "f1"}, "for those that are independent"),
        ({"thresholds": "f2"}, "f2 are not known; give f1"),
        ({"target_precision": 0.999}, "no threshold reaches a precision of 0.999"),
    ],
)
def test_what_cannot_be_is_said(
    folder: Path, data: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        calibrate(folder, data, **options)
    assert not (folder / CALIBRATION_FILE).exists()


def test_few_texts_are_too_few(folder: Path, data: Path) -> None:
    data.write_text("\n".join(data.read_text().splitlines()[:50]))
    with pytest.raises(ConfigError, match="49 texts are too few"):
        calibrate(folder, data)


def test_a_folder_that_is_none(tmp_path: Path, data: Path) -> None:
    with pytest.raises(PackageError, match="is no folder"):
        calibrate(tmp_path / "nothing", data)


def test_what_was_calibrated_on_pairs_is_served_with_pairs(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.csv"
    rows = (f"{text},again,{tiny.LABELS[number % 3]}" for number, text in enumerate(TEXTS))
    data.write_text("text,text_pair,label\n" + "\n".join(rows))
    found = calibrate(folder, data)
    assert found["provenance"]["settings"]["pairs"] is True
    archive = package(folder, name="t", version="1", output=tmp_path)
    assert inspect(archive)["settings"]["pairs"] is True
    (text, probabilities), *_ = golden(archive)
    assert isinstance(text, Pair)
    expected = score_archive(archive, [text]).probabilities[0]
    assert [probabilities[label] for label in tiny.LABELS] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(PackageError, match="give texts that have a text_pair each"):
        package(folder, name="t", version="2", output=tmp_path, texts=["alone"])
    with pytest.raises(PackageError, match='cannot be classified: .*"text_pair"'):
        score_archive(archive, ["alone"])
    with pytest.raises(ConfigError, match="calibrated on pairs, and .* no second texts"):
        calibrate(folder, write_data(tmp_path / "alone.csv"))


def test_a_model_of_pairs_needs_a_calibration_on_pairs(calibrated: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="with pairs False, not True"):
        package(calibrated, name="t", version="1", output=tmp_path, settings=Settings(pairs=True))
