"""The same probabilities as in float32 on the CPU, and the same bits whatever the neighbours."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import tiny
from handler.engine import Classifier, load_model
from handler.errors import RequestError
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.values import Encoding, Explain, Prediction, Text

from . import models
from .checks import Check, Checks, Figures, Found, Impossible, Wrong

# precision → how far logits may be from float32's, as a share of their size, if transformers' own modules
# in that precision are not farther away
PRECISIONS = {"bfloat16": 0.02, "float16": 0.003, "float32": 1e-4}
_WORSE = 2.0  # times as far as transformers' own
# tokens of texts: one, the shortest a tokenizer gives, odd ones, the longest
_LENGTHS = {
    "cuda": (1, 2, 3, 5, 8, 13, 17, 31, 32, 33, 64, 100, 128, 255, 384, 511, 512),
    "cpu": (1, 17, 64),
}
_NEIGHBOURS = {
    # those of the first are in one graph with it, of the last in none
    "cuda": {
        "few": (3,),
        "short ones": (2, 3, 5, 7) * 8,
        "long ones": (512, 400, 511, 300) * 4,
    },
    "cpu": {"short ones": (2, 3), "long ones": (90,)},
}
_MOVED = 0.02  # by so much neighbours may move a probability where texts are padded
_BUDGET = 8_192
_TEXTS = ("", "a", *tiny.TEXTS, "the film was good " * 300)


def checks(device: torch.device, root: Path, given: Path | None) -> Checks:
    """`given` is the folder of a real classifier, if there is one."""
    folders = models.folders(root, list(tiny.ARCHITECTURES), models.HEAD_SIZES)
    if given:
        folders.insert(0, models.Folder(given.name, given))
    for folder in folders:
        for precision in PRECISIONS:
            yield Check(
                f"{folder.name}, {precision}", partial(logits, folder.path, precision, device)
            )
    for precision in PRECISIONS:
        yield Check(
            f"BERT-base, {precision}: bits beside others", partial(base_bits, precision, device)
        )
    for folder in (folders[0], *folders[1:3]):
        yield Check(f"{folder.name}: texts", partial(whole_way, folder.path, device, {}, _TEXTS))
    bert = next(folder for folder in folders if folder.name == "bert").path
    pairs = [Text(text, "the waiter was rude") for text in tiny.TEXTS]
    yield Check("bert: pairs", partial(whole_way, bert, device, {}, pairs))
    chunks = {"long_text": "chunks", "max_length": 64}
    yield Check("bert: chunks of long texts", partial(whole_way, bert, device, chunks, _TEXTS))
    yield Check("bert: explanations", partial(explanations, bert, device))


def logits(folder: Path, precision: str, device: torch.device) -> Found:
    """Packed and padded logits against float32's, and whether neighbours change a text's bits."""
    expected = _expected(folder, _LENGTHS[device.type])
    model = load_model(folder, precision)
    encodings = models.texts(_LENGTHS[device.type], model.config.vocab_size)
    classifier = Classifier(model, device, pad_token_id=0, token_budget=_BUDGET)
    own = _own(folder, precision, device, encodings)
    padded, _ = classifier(encodings)
    classifier.speed_up(models.LONGEST)
    chosen, problems = classifier(encodings)
    if any(problems):
        raise Wrong(f"texts failed: {next(filter(None, problems)).message}")
    far = {
        "transformers": _far(own, expected),
        "padded": _far(padded, expected),
        classifier.forward: _far(chosen, expected),
    }
    allowed = max(PRECISIONS[precision], _WORSE * far["transformers"])
    _refuse_above(allowed, far)
    figures: Figures = {
        "forward": classifier.forward,
        "attention": classifier.attention,
        "ways": classifier.ways,
        "relative_difference": far,
        **_beside_others(classifier, model.config.vocab_size),
    }
    shown = ", ".join(f"{way} {value:.1e}" for way, value in far.items())
    return Found(f"{shown}; beside others {_bits(figures)}{_refused(classifier)}", figures)


def base_bits(precision: str, device: torch.device) -> Found:
    """Neighbours of texts in a model of real size, whose products are computed by many kernels."""
    size = "base" if device.type == "cuda" else "tiny"
    model = models.bert(size, getattr(torch, precision))
    classifier = Classifier(model, device, pad_token_id=0, token_budget=_BUDGET)
    classifier.speed_up(models.LONGEST)
    figures = {
        "forward": classifier.forward,
        "attention": classifier.attention,
        "ways": classifier.ways,
        **_beside_others(classifier, 30_000),
    }
    return Found(f"{classifier.forward}, {_bits(figures)}{_refused(classifier)}", figures)


def whole_way(
    folder: Path, device: torch.device, settings: dict[str, Any], texts: Sequence[str | Text]
) -> Found:
    """Texts through the whole way, in the precision that `auto` stands for, against the CPU's float32."""
    some = [text if isinstance(text, Text) else Text(text) for text in texts]
    served = _pipeline(folder, device, "auto", settings)
    expected = _pipeline(folder, torch.device("cpu"), "float32", settings)(some)
    found = served(some)
    moved = 0.0
    for one, other in zip(found, expected, strict=True):
        if isinstance(one, RequestError) or isinstance(other, RequestError):
            if one != other:
                raise Wrong(f"{one} where the CPU gives {other}")
            continue
        if (one.tokens, one.truncated, one.chunks) != (other.tokens, other.truncated, other.chunks):
            raise Wrong("the texts are cut in another way than on the CPU")
        if not math.isclose(sum(one.probabilities.values()), 1.0, abs_tol=1e-5):
            raise Wrong(f"probabilities sum to {sum(one.probabilities.values())}")
        moved = max(moved, _moved(one, other))
    if moved > 0.1:
        raise Wrong(f"a probability is {moved:.3f} from the CPU's")
    return Found(
        f"{len(found)} texts in {served.precision}, a probability moves by {moved:.1e} at most",
        {"precision": served.precision, "texts": len(found), "largest_shift": moved},
    )


def explanations(folder: Path, device: torch.device) -> Found:
    """The attributions of words against the CPU's."""
    if not importlib.util.find_spec("captum"):
        raise Impossible("captum is not installed")
    text = [Text(tiny.TEXTS[1], explain=Explain("positive"))]
    words = []
    for where, precision in ((device, "auto"), (torch.device("cpu"), "float32")):
        (found,) = _pipeline(folder, where, precision, {})(text)
        if isinstance(found, RequestError) or found.explanation is None:
            raise Wrong(f"no explanation: {found}")
        words.append([word.attribution for word in found.explanation.words])
    far = _far(*map(torch.tensor, words))
    if far > 0.01:
        raise Wrong(f"attributions differ by {far:.1%} from the CPU's")
    return Found(f"{len(words[0])} words, {far:.1e} from the CPU's", {"relative_difference": far})


def _pipeline(
    folder: Path, device: torch.device, precision: str, settings: dict[str, Any]
) -> Pipeline:
    return Pipeline(folder, Settings(precision=precision, token_budget=_BUDGET, **settings), device)


def _moved(one: Prediction, other: Prediction) -> float:
    return max(abs(one.probabilities[label] - p) for label, p in other.probabilities.items())


@cache
def _expected(folder: Path, lengths: tuple[int, ...]) -> torch.Tensor:
    """Logits of texts, each alone, by transformers in float32 on the CPU."""
    model = _transformers(folder, torch.float32, torch.device("cpu"))
    return _alone(model, models.texts(lengths, model.config.vocab_size))


def _own(
    folder: Path, precision: str, device: torch.device, encodings: list[Encoding]
) -> torch.Tensor:
    """The same by transformers in a precision, on the device."""
    return _alone(_transformers(folder, getattr(torch, precision), device), encodings)


def _transformers(folder: Path, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
    return model.to(device).eval()


@torch.inference_mode()
def _alone(model: PreTrainedModel, encodings: list[Encoding]) -> torch.Tensor:
    rows = [torch.tensor([each.input_ids], device=model.device) for each in encodings]
    return torch.cat([model(input_ids=row).logits.float().cpu() for row in rows])


def _beside_others(classifier: Classifier, vocabulary: int) -> Figures:
    """How many texts get other bits beside others than alone, and how far a probability moves then."""
    kind = classifier.device.type
    texts = models.texts(_LENGTHS[kind], vocabulary, seed=1)
    alone = torch.cat([classifier([text])[0] for text in texts])
    changed, moved = {}, {}
    for which, lengths in _NEIGHBOURS[kind].items():
        before, after = (
            models.texts(lengths, vocabulary, seed=2),
            models.texts(lengths, vocabulary, seed=3),
        )
        found = torch.stack([classifier([*before, text, *after])[0][len(before)] for text in texts])
        changed[which] = int((found != alone).any(dim=1).sum())
        moved[which] = (found.softmax(dim=1) - alone.softmax(dim=1)).abs().max().item()
    figures = {"texts": len(texts), "texts_with_other_bits": changed, "largest_shift": moved}
    if not max(moved.values()) <= _MOVED:
        raise Wrong(f"neighbours move a probability: {moved}")
    if kind == "cuda" and classifier.forward == "packed" and any(changed.values()):
        raise Wrong(f"neighbours change the bits of texts: {_bits(figures)}")
    return figures


def _bits(figures: Figures) -> str:
    changed = figures["texts_with_other_bits"]
    if not any(changed.values()):
        return "the same bits"
    parts = (f"{which} {count}" for which, count in changed.items() if count)
    largest = max(figures["largest_shift"].values())
    return f"other bits of {figures['texts']} ({', '.join(parts)}), moved by {largest:.1e}"


def _refused(classifier: Classifier) -> str:
    """The ways that were tried and are not taken."""
    some = (f"; {way}: {found}" for way, found in classifier.ways.items() if found != "taken")
    return "".join(some)


def _far(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _refuse_above(allowed: float, far: dict[str, float]) -> None:
    for way, value in far.items():
        if way != "transformers" and not value <= allowed:
            shown = ", ".join(f"{name} {each:.1e}" for name, each in far.items())
            raise Wrong(f"{way} logits are too far from float32's, {allowed:.1e} allowed: {shown}")
