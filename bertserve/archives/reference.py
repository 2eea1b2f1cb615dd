"""What transformers' own pipeline says of a folder's model, to compare an archive with.

It runs beside an archive's handler, see `precision`: `handler` is the archive's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

# of probabilities; and of logits as a share of the largest, for a sure model's probabilities hide much
PROBABILITIES, LOGITS = 1e-4, 1e-3
NOTHING = 1e-6  # a model whose logits differ by less from one text to the next reads none of them

# short, long, capitals, accents, digits, other scripts, and pairs
TEXTS: tuple[tuple[str, str | None], ...] = (
    ("Good film", None),
    ("bad", None),
    ("I HAVE NEVER BEEN SO DISAPPOINTED, Mr. O'Neill!", None),
    ("Flight 1234 on 2023-05-17 was 45 minutes late; we paid $1,299.99.", None),
    ("Où est mon colis ? Schöne Grüße aus Zürich, señor Muñoz", None),
    ("我的订单在哪里？ Где мой заказ? أين طلبي؟ मेरा ऑर्डर", None),
    ("Ｆｕｌｌ ｗｉｄｔｈ, ﬁne ① 🥾 naïve\u00a0words\tand   spaces…", None),
    ("The story was slow at first, but the ending made up for it, and we loved it. " * 12, None),
    ("The story was slow at first, but the ending made up for it, and we loved it. " * 700, None),
    ("A man is eating.", "Somebody eats something."),
    ("Is there a fee?", "The waiter was slow, and the soup was cold. " * 40),
)


class Differs(Exception):
    """The archive would not give what transformers gives; says why, and what to do."""


class Answer(NamedTuple):
    """What a text gets, in the order of the model's outputs."""

    logits: list[float]
    probabilities: list[float]


def check_tokenizer(model_dir: Path, tokenizer: Any) -> None:
    """Differs where tokenizer.json gives other tokens than what transformers makes of the folder."""
    from tokenizers import Tokenizer

    path = model_dir / "tokenizer.json"
    if not path.exists():
        return
    both = Tokenizer.from_file(str(path)), tokenizer.backend_tokenizer
    for each in both:
        each.no_truncation()
        each.no_padding()
    for text, pair in TEXTS:
        written, built = (each.encode(text, pair) for each in both)
        if (written.ids, written.type_ids) != (built.ids, built.type_ids):
            tokens = zip_longest(written.tokens, built.tokens)
            first = next((place for place, (one, other) in enumerate(tokens) if one != other), 0)
            around = slice(max(0, first - 1), first + 3)
            raise Differs(
                f"tokenizer.json and what transformers makes of tokenizer_config.json disagree: of "
                f"{text[:40]!r} one has the tokens {written.tokens[around]}, the other "
                f"{built.tokens[around]}; to have tokenizer.json as it is, write "
                '{"tokenizer_class": "PreTrainedTokenizerFast"} into tokenizer_config.json; to have the '
                "other, load the tokenizer with AutoTokenizer and save it there with save_pretrained()"
            )


def check_answers(pipeline: Any, model_dir: Path) -> dict[str, Any]:
    """How far the archive's own `pipeline`, in float32, is from transformers' on the folder.

    The number of texts that both classify, and the largest_gap of their probabilities; Differs where
    they are not the same.
    """
    device = pipeline.classifier.device
    return compare(expected(model_dir, device, pipeline.max_length), answers(pipeline))


def answers(pipeline: Any) -> list[Answer | str]:
    """What the archive's own pipeline gives each of TEXTS; or why a text gets nothing."""
    from handler.values import Prediction, Text

    asked = [Text(*each, long_text="truncate", calibrated=False) for each in TEXTS]
    return [
        Answer(list(one.logits), [one.probabilities[label] for label in pipeline.labels])
        if isinstance(one, Prediction)
        else one.message
        for one in pipeline(asked)
    ]


def expected(model_dir: Path, device: Any, max_length: int) -> list[Answer | str]:
    """What transformers' pipeline gives each of TEXTS; or why a text gets nothing."""
    import torch
    import transformers

    from handler.engine import State

    pipe = transformers.pipeline(
        "text-classification",
        model=str(model_dir),
        dtype=torch.float32,
        device=device,
        trust_remote_code=False,
    )
    _leave_out_unknown(pipe)
    fresh = State(pipe.model)

    @torch.inference_mode()
    def ask(text: str, pair: str | None) -> Answer:
        inputs = {"text": text} if pair is None else {"text": text, "text_pair": pair}
        try:
            tokens = pipe.preprocess(inputs, truncation=True, max_length=max_length)
            outputs = pipe.forward(tokens)
        finally:
            fresh.restore()  # each text gets what a model says of it that has seen none before
        scores = pipe.postprocess(outputs, top_k=None, _legacy=True)
        return Answer(outputs["logits"][0].float().tolist(), [each["score"] for each in scores])

    found: list[Answer | str] = []
    for each in TEXTS:
        try:
            found.append(ask(*each))
        except Exception as error:  # whatever it does not stand is the outcome
            found.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    if isinstance(found[0], Answer) and not _same(found[0], ask(*TEXTS[0])):
        raise Differs(
            "transformers' own pipeline gives the same text another answer each time, so there is none "
            "to serve; see whether config.json has a seed for what it draws at random"
        )
    answered = [each.logits for each in found if isinstance(each, Answer)]
    if len(answered) > 1 and all(_gap(each, answered[0]) <= NOTHING for each in answered):
        raise Differs(
            "transformers' own pipeline says the same of all texts, whatever is in them, so nothing is "
            "read here; some architectures, such as MRA, need kernels that are only there for GPUs"
        )
    return found


def _leave_out_unknown(pipe: Any) -> None:
    """Have the tokenizer give only what the model takes: some fail on token types."""
    taken = inspect.signature(pipe.model.forward).parameters
    pipe.tokenizer.model_input_names = [n for n in pipe.tokenizer.model_input_names if n in taken]


def compare(theirs: Sequence[Answer | str], ours: Sequence[Answer | str]) -> dict[str, Any]:
    """See `check_answers`."""
    gaps = [0.0]
    for (text, pair), one, other in zip(TEXTS, theirs, ours, strict=True):
        what = f"{text[:40]!r}" + (f" with {pair[:40]!r}" if pair is not None else "")
        if isinstance(one, str):
            if pair is None:
                raise Differs(
                    f"transformers' own pipeline fails on {what}: {one}; give a --max-length that the "
                    "model reads, or mend the folder until the pipeline works"
                )
        elif isinstance(other, str):
            raise Differs(
                f"transformers' pipeline classifies {what}, and here it fails: {other}; please report it"
            )
        elif not _same(one, other):
            raise Differs(
                f"of {what} transformers' pipeline says {_short(one.probabilities)} and the archive "
                f"would say {_short(other.probabilities)}, so it is not built; please report the "
                "architecture"
            )
        else:
            gaps.append(_gap(one.probabilities, other.probabilities))
    return {"texts": len(gaps) - 1, "largest_gap": float(f"{max(gaps):.1g}")}


def _same(one: Answer, other: Answer) -> bool:
    """Whether both have as many outputs and, but for rounding, the same values; none is no number."""
    scale = max(1.0, *map(abs, one.logits))
    return (
        len(one.logits) == len(other.logits)
        and _gap(one.probabilities, other.probabilities) <= PROBABILITIES
        and _gap(one.logits, other.logits) <= LOGITS * scale
    )


def _gap(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _short(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values[:3]) + (" …" if len(values) > 3 else "")
