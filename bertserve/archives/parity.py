"""How far an archive is from transformers' own pipeline, and its precision from float32.

Run as a program, with an archive's folder as its argument and as PYTHONPATH, the folder that it was made
of as the second, and the texts as JSON on standard input, each a text or a pair of them: it uses the
archive's own handler and kernels. The last line of its output is one JSON object, what `measure`
returns, or {"error"} where the archive does not load, or {"differs"}.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # in the archive's process there is no bertserve
    from bertserve.inputs import Input
    from bertserve.system import Forkserver

FILE_NAME = "precision.json"
GOLDEN = "golden.json"
_DIGITS = 6  # of golden probabilities
SAMPLE = Path(__file__).parent / "sample_texts.txt"


def sample_texts() -> list[str]:
    """Short and long texts of several kinds, for want of the operator's own."""
    return SAMPLE.read_text(encoding="utf-8").splitlines()


def measure_in_archive(
    python: Forkserver, root: Path, texts: Sequence[Input], reference: Path
) -> dict[str, Any]:
    """What `measure` finds for an archive's folder, in a process of its own."""
    given = [text if isinstance(text, str) else (text.text, text.text_pair) for text in texts]
    asked = [str(root), str(reference.resolve())]
    return python.outcome(Path(__file__), *asked, folder=root, given=json.dumps(given))


def measure(root: Path, given: Sequence[str | Sequence[str]], reference: Path) -> dict[str, Any]:
    """Precision, texts, and labels_changed, largest_shift and mean_shift of probabilities, of 1.

    On the given texts; on our own where there are none.

    `failed` counts texts that are classified in float32 alone. `golden` are the probabilities that our
    own texts get in the precision that is served: by text, or a list where texts are pairs. `pipeline`
    tells how far those of float32 are from transformers' pipeline on the folder `reference`; Differs
    where that is not the same.
    """
    import torch
    import yaml

    from handler.pipeline import Pipeline
    from handler.settings import read_settings
    from handler.text import load_tokenizer
    from handler.values import Prediction, Text

    wanted = read_settings(yaml.safe_load((root / "model-config.yaml").read_bytes())["handler"])
    pipelines = _beside_this_file()
    on_gpu = torch.cuda.is_available() and wanted.precision != "int8"
    device = torch.device("cuda" if on_gpu else "cpu")
    pipelines.check_tokenizer(root / "model", load_tokenizer(root / "model"))

    own: list[Any] = sample_texts()
    if wanted.pairs:
        own = list(zip(own, own[1:] + own[:1], strict=True))
    asked = [*given, *own]

    def as_text(each: Any) -> Text:
        return Text(each) if isinstance(each, str) else Text(*each)

    def predict(precision: str) -> tuple[str, list[dict[str, float]], dict[str, Any] | None]:
        # transformers classifies lone texts too, whatever the model is for
        settings = replace(wanted, precision=precision, token_budget=2048, pairs=False)
        pipeline = Pipeline(root / "model", settings, device)
        results = pipeline([as_text(each) for each in asked])
        exactly = pipeline.precision == "float32"
        compared = pipelines.check_answers(pipeline, reference) if exactly else None
        return (
            pipeline.precision,
            [result.probabilities if isinstance(result, Prediction) else {} for result in results],
            compared,
        )

    precision, chosen, compared = predict(wanted.precision)
    if precision == "float32":
        exact = chosen
    else:
        _, exact, compared = predict("float32")
    golden = [
        (text, {label: round(value, _DIGITS) for label, value in found.items()})
        for text, found in zip(own, chosen[len(given) :], strict=True)
        if found
    ]
    if given:
        chosen, exact = chosen[: len(given)], exact[: len(given)]
    pairs = [(a, b) for a, b in zip(chosen, exact, strict=True) if a and b]
    shifts = [abs(a[label] - b[label]) for a, b in pairs for label in b]
    changed = sum(next(iter(a)) != next(iter(b)) for a, b in pairs)
    return {
        "precision": precision,
        "pipeline": compared,
        "texts": len(pairs),
        "failed": sum(bool(b and not a) for a, b in zip(chosen, exact, strict=True)),
        # two digits: the others differ from one machine to the next
        "labels_changed": float(f"{changed / max(1, len(pairs)):.2g}"),
        "largest_shift": float(f"{max(shifts, default=0):.2g}"),
        "mean_shift": float(f"{sum(shifts) / max(1, len(shifts)):.2g}"),
        "golden": golden if wanted.pairs else dict(golden),
    }


def _beside_this_file() -> Any:
    """The module `reference`, from its file: it is beside this one, and not in the archive."""
    path = Path(__file__).with_name("reference.py")
    spec = importlib.util.spec_from_file_location("_reference", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print what was found as one line of JSON."""
    try:
        outcome = measure(Path(sys.argv[1]), json.loads(sys.stdin.read()), Path(sys.argv[2]))
    except Exception as error:  # whatever keeps the model from loading is the outcome
        kind = "differs" if type(error).__name__ == "Differs" else "error"
        outcome = {kind: " ".join(str(error).split())}
    sys.stdout.write("\n" + json.dumps(outcome) + "\n")


if __name__ == "__main__":
    # this file's own folder must not shadow the archive's modules
    sys.path = [entry for entry in sys.path if entry != str(Path(__file__).resolve().parent)]
    main()
