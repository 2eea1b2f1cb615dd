"""Logits and probabilities of many texts: by an archive on this machine, or by a model that is served.

Run as a program, with an archive's folder as its argument and as PYTHONPATH, and the texts as JSON lines on
standard input, it uses the archive's own handler, and prints a line of JSON for each text.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bertserve.results import Input

Progress = Callable[[int], None]
_AT_ONCE = 256  # texts


@dataclass(frozen=True)
class Scores:
    """What a model says of texts: float64 [texts, labels] each, labels in the model's order.

    `failed` says why a text has no scores, by its place; its rows are NaN. `facts` is the description of
    the model, see `bertserve models describe`.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    failed: dict[int, str]
    facts: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """Names in the order of the model's outputs."""
        return list(self.facts["labels"])

    @property
    def independent(self) -> bool:
        """Whether a text may have any number of labels."""
        return bool(self.facts["activation"] == "sigmoid")


def score_archive(
    archive: Path, texts: Sequence[Input], progress: Progress = lambda _: None
) -> Scores:
    """Score texts by the handler of an archive, without a server."""
    from bertserve.errors import PackageError

    with tempfile.TemporaryDirectory(prefix="bertserve-score-") as root:
        with zipfile.ZipFile(archive) as contents:
            contents.extractall(root)
        environment = {**os.environ, "PYTHONPATH": root, "HF_HUB_OFFLINE": "1"}
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as lines,
            tempfile.TemporaryFile("w+") as said,
        ):
            lines.writelines(json.dumps(_plain(text)) + "\n" for text in texts)
            lines.seek(0)
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), root],
                cwd=root, env=environment, stdin=lines, stdout=subprocess.PIPE, stderr=said, text=True,
            )  # fmt: skip
            assert process.stdout is not None
            try:
                answers = [json.loads(line) for line in process.stdout if line.startswith("{")]
            finally:
                process.stdout.close()
                process.wait()
            said.seek(0)
            if process.returncode:
                reason = (said.read().strip().splitlines() or ["it died"])[-1]
                raise PackageError(f"{archive} cannot score texts: {reason}")
    return _collect(answers[0], answers[1:], len(texts), progress)
