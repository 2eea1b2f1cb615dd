"""Logits and probabilities of many texts: by an archive on this machine, or by a model that is served.

    score_archive(Path("model_store/support-1.0.mar"), texts).probabilities
    score_served(client, texts).probabilities

Run as a program, with an archive's folder as its argument and as PYTHONPATH, and texts as JSON lines on
standard input, it classifies them by the archive's own handler: the code that serves. Of its output, the
lines that begin with { are one description and then an outcome for each text.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # in the archive's process there is no bertserve
    import numpy as np
    from numpy.typing import NDArray

    from bertserve.clients import Client, GrpcClient
    from bertserve.inputs import Input

Report = Callable[[int], None]
_AT_ONCE = 256  # texts
_PATIENCE = 1e9  # seconds: nobody waits for a request here


@dataclass(frozen=True)
class Scores:
    """What a model says of texts: float64 [texts, labels] each, labels in the model's order.

    `description` is the model's own, see `bertserve models describe`.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    description: dict[str, Any]

    @property
    def labels(self) -> list[str]:
        """Names in the order of the model's outputs."""
        return list(self.description["labels"])

    @property
    def independent(self) -> bool:
        """Whether a text may have any number of labels."""
        return bool(self.description["activation"] == "sigmoid")


def score_archive(
    archive: Path, texts: Sequence[Input], report: Report = lambda _: None, **options: Any
) -> Scores:
    """Score texts by the handler of an archive, without a server; `report` hears how many are done.

    options   of a text, as the wire has them: `max_length`, `long_text`, `calibrated`
    """
    from bertserve.archives import unpacked

    with unpacked(archive, "score") as root:
        return score_folder(root, texts, report, **options)


def score_folder(
    root: Path, texts: Sequence[Input], report: Report = lambda _: None, **options: Any
) -> Scores:
    """Score texts by the handler of an archive's folder; PackageError where one cannot be classified."""
    from bertserve.clients import to_wire
    from bertserve.errors import PackageError
    from bertserve.system import Forkserver

    with (
        tempfile.TemporaryFile("w+") as lines,
        tempfile.TemporaryFile("w+") as said,
        Forkserver() as python,
    ):
        lines.writelines(json.dumps({**to_wire(text), **options}) + "\n" for text in texts)
        lines.seek(0)
        with python.started(
            Path(__file__), str(root), folder=root, given=lines, errors=said
        ) as output:
            answers = (json.loads(line) for line in output if line.startswith("{"))
            description: dict[str, Any] = next(answers, {})
            if "labels" in description:
                return _collect(description, list(_counted(answers, report)), len(texts))
        said.seek(0)
        reason = description.get("error") or (said.read().strip().splitlines() or ["it died"])[-1]
    raise PackageError(f"the model cannot score texts: {reason}")


def score_served(
    client: Client | GrpcClient,
    texts: Sequence[Input],
    report: Report = lambda _: None,
    **options: Any,
) -> Scores:
    """Score texts by a model that is served; PackageError where one cannot be classified.

    options   those of `score_archive`
    """
    from dataclasses import asdict

    from bertserve.errors import TextError

    description = client.describe()
    answers: list[dict[str, Any]] = []
    for result in client.classify_each(texts, details=True, **options):
        if isinstance(result, TextError):
            answers.append({"error": str(result)})
        else:
            assert result.logits is not None
            answers.append(
                {
                    name: [numbers[label] for label in description.labels]
                    for name, numbers in (
                        ("logits", result.logits),
                        ("probabilities", result.probabilities),
                    )
                }
            )
        report(len(answers))
    return _collect(asdict(description), answers, len(texts))


def _counted(answers: Iterable[dict[str, Any]], report: Report) -> Iterator[dict[str, Any]]:
    for number, answer in enumerate(answers, start=1):
        report(number)
        yield answer


def _collect(description: dict[str, Any], answers: Sequence[dict[str, Any]], wanted: int) -> Scores:
    import numpy as np

    from bertserve.errors import PackageError

    for number, answer in enumerate(answers, start=1):
        if "error" in answer:
            raise PackageError(f"text {number} of {wanted} cannot be classified: {answer['error']}")
    if len(answers) != wanted:
        raise PackageError(f"the model died after {len(answers)} of {wanted} texts")
    logits, probabilities = (
        np.array([answer[name] for answer in answers], dtype=np.float64)
        for name in ("logits", "probabilities")
    )
    return Scores(logits, probabilities, description)


def answers_of(root: Path, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The description of an archive's folder, then what it says of each text."""
    import torch
    import yaml

    from handler.engine import choose_device
    from handler.errors import RequestError
    from handler.pipeline import Pipeline
    from handler.settings import read_settings
    from handler.values import Prediction, Text
    from handler.wire import read_single

    settings = read_settings(yaml.safe_load((root / "model-config.yaml").read_bytes())["handler"])
    on_gpu = torch.cuda.is_available() and settings.precision != "int8"
    device = choose_device(0 if on_gpu else None)
    pipeline = Pipeline(root / "model", settings, device, time_limit=_PATIENCE)
    yield pipeline.describe()

    def read(line: str) -> Text | RequestError:
        try:
            return read_single(json.loads(line), settings).texts[0]
        except RequestError as error:
            return error

    waiting = iter(lines)
    while some := list(islice(waiting, _AT_ONCE)):
        for outcome in pipeline([read(line) for line in some]):
            if isinstance(outcome, Prediction):
                logits: Any = outcome.logits
                if isinstance(logits, dict):  # of a handler that gave them by label
                    logits = [logits[label] for label in pipeline.labels]
                yield {
                    "logits": logits,
                    "probabilities": [outcome.probabilities[label] for label in pipeline.labels],
                }
            else:
                yield {"error": outcome.message}


def main() -> None:
    """Print a line of JSON for each answer."""
    try:
        for answer in answers_of(Path(sys.argv[1]), sys.stdin):
            sys.stdout.write("\n" + json.dumps(answer))
    except Exception as error:  # whatever keeps the model from loading is the outcome
        sys.stdout.write("\n" + json.dumps({"error": " ".join(str(error).split())}))
    sys.stdout.write("\n")


if __name__ == "__main__":
    # this file's own folder must not shadow the archive's modules
    sys.path = [entry for entry in sys.path if entry != str(Path(__file__).resolve().parent)]
    main()
