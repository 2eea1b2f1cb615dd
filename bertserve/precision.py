"""How far the precision that a model is served in moves its probabilities from those of float32.

Run as a program, with an archive's folder as its argument and as PYTHONPATH, and the texts as JSON on
standard input: it uses the archive's own handler and kernels. The last line of its output is one JSON
object, what `measure` returns or {"error"}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

FILE_NAME = "precision.json"
GOLDEN = "golden.json"
_DIGITS = 6  # of golden probabilities
SAMPLE = Path(__file__).parent / "sample_texts.txt"


def sample_texts() -> list[str]:
    """Short and long texts of several kinds, for want of the operator's own."""
    return SAMPLE.read_text(encoding="utf-8").splitlines()


def measure_in_archive(root: Path, texts: Sequence[str]) -> dict[str, Any]:
    """What `measure` finds for an archive's folder, in a process of its own."""
    from bertserve.processes import tied

    environment = {**os.environ, "PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*tied(Path(__file__), "-B"), str(root)],
        cwd=root,
        env=environment,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("{"):
        return dict(json.loads(lines[-1]))
    return {"error": (done.stderr.strip().splitlines() or ["it died"])[-1]}


def measure(root: Path, texts: Sequence[str]) -> dict[str, Any]:
    """Precision, texts, and labels_changed, largest_shift and mean_shift of probabilities, of 1.

    `failed` counts texts that are classified in float32 alone. `golden` are the probabilities that our
    own texts get in the precision that is served.
    """
    import torch
    import yaml

    from handler.pipeline import Pipeline
    from handler.settings import read_settings
    from handler.values import Prediction, Text

    wanted = read_settings(yaml.safe_load((root / "model-config.yaml").read_bytes())["handler"])
    on_gpu = torch.cuda.is_available() and wanted.precision != "int8"
    device = torch.device("cuda" if on_gpu else "cpu")

    own = sample_texts()

    def predict(precision: str) -> tuple[str, list[dict[str, float]]]:
        settings = replace(wanted, precision=precision, token_budget=2048)
        pipeline = Pipeline(root / "model", settings, device)
        results = [
            *pipeline([Text(text) for text in texts]),
            *pipeline([Text(text) for text in own]),
        ]
        return pipeline.precision, [
            result.probabilities if isinstance(result, Prediction) else {} for result in results
        ]

    precision, chosen = predict(wanted.precision)
    exact = chosen if precision == "float32" else predict("float32")[1]
    golden = {text: found for text, found in zip(own, chosen[len(texts) :], strict=True) if found}
    chosen, exact = chosen[: len(texts)], exact[: len(texts)]
    pairs = [(a, b) for a, b in zip(chosen, exact, strict=True) if a and b]
    shifts = [abs(a[label] - b[label]) for a, b in pairs for label in b]
    changed = sum(next(iter(a)) != next(iter(b)) for a, b in pairs)
    return {
        "precision": precision,
        "texts": len(pairs),
        "failed": sum(bool(b and not a) for a, b in zip(chosen, exact, strict=True)),
        # two digits: the others differ from one machine to the next
        "labels_changed": float(f"{changed / max(1, len(pairs)):.2g}"),
        "largest_shift": float(f"{max(shifts, default=0):.2g}"),
        "mean_shift": float(f"{sum(shifts) / max(1, len(shifts)):.2g}"),
        "golden": {
            text: {k: round(v, _DIGITS) for k, v in found.items()} for text, found in golden.items()
        },
    }


def main() -> None:
    """Print what was found as one line of JSON."""
    try:
        outcome = measure(Path(sys.argv[1]), json.loads(sys.stdin.read()))
    except Exception as error:  # whatever keeps the model from loading is the outcome
        outcome = {"error": " ".join(str(error).split())}
    sys.stdout.write("\n" + json.dumps(outcome) + "\n")


if __name__ == "__main__":
    # this file's own folder must not shadow the archive's modules
    sys.path = [entry for entry in sys.path if entry != str(Path(__file__).resolve().parent)]
    main()
