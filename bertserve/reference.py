"""What transformers' own pipeline says of a folder's model, to compare an archive with.

It runs beside an archive's handler, see `precision`: `handler` is the archive's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# of probabilities; and of logits as a share of the largest, for a sure model's probabilities hide much
PROBABILITIES, LOGITS = 1e-4, 1e-3

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


def check_tokenizer(model_dir: Path, tokenizer: Any) -> None:
    """Differs where tokenizer.json gives other tokens than what transformers makes of the folder."""
    from tokenizers import Tokenizer

    path = model_dir / "tokenizer.json"
    if not path.exists():
        return
    file = Tokenizer.from_file(str(path))
    built = tokenizer.backend_tokenizer
    for each in (file, built):
        each.no_truncation()
        each.no_padding()
    for text, pair in TEXTS:
        ours, theirs = (each.encode(text, pair) for each in (file, built))
        if (ours.ids, ours.type_ids) != (theirs.ids, theirs.type_ids):
            first = next(
                (
                    n
                    for n, (a, b) in enumerate(zip(ours.tokens, theirs.tokens, strict=False))
                    if a != b
                ),
                0,
            )
            raise Differs(
                f"tokenizer.json and what transformers makes of tokenizer_config.json disagree: of "
                f"{text[:40]!r} one has the tokens {_tokens(ours, first)}, the other "
                f"{_tokens(theirs, first)}; to have tokenizer.json as it is, write "
                '{"tokenizer_class": "PreTrainedTokenizerFast"} into tokenizer_config.json; to have the '
                "other, load the tokenizer with AutoTokenizer and save it there with save_pretrained()"
            )


def _tokens(encoding: Any, first: int) -> list[str]:
    return list(encoding.tokens[max(0, first - 1) : first + 3])


def expected(
    folder: Path, device: Any, max_length: int
) -> list[tuple[list[float], list[float]] | str]:
    """Logits and scores of each of TEXTS, in the order of the outputs; or why a text has none."""
    import torch
    import transformers

    from handler.state import State

    pipe = transformers.pipeline(
        "text-classification",
        model=str(folder),
        dtype=torch.float32,
        device=device,
        trust_remote_code=False,
    )
    _leave_out_unknown(pipe)
    fresh = State(pipe.model)

    def ask(text: str, pair: str | None) -> tuple[list[float], list[float]]:
        inputs = {"text": text} if pair is None else {"text": text, "text_pair": pair}
        try:
            with torch.inference_mode():
                tokens = pipe.preprocess(inputs, truncation=True, max_length=max_length)
                outputs = pipe.forward(tokens)
        finally:
            fresh.restore()  # each text gets what a model says of it that has seen none before
        scores = pipe.postprocess(outputs, top_k=None, _legacy=True)
        return outputs["logits"][0].float().tolist(), [each["score"] for each in scores]

    found: list[tuple[list[float], list[float]] | str] = []
    for text, pair in TEXTS:
        try:
            found.append(ask(text, pair))
        except Exception as error:  # whatever it does not stand is the outcome
            found.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    first = found[0]
    if not isinstance(first, str) and _gap(first[0], ask(*TEXTS[0])[0]) > LOGITS * _scale(first[0]):
        raise Differs(
            "transformers' own pipeline gives the same text another answer each time, so there is none "
            "to serve; see whether config.json has a seed for what it draws at random"
        )
    return found


def _leave_out_unknown(pipe: Any) -> None:
    """Have the tokenizer give only what the model takes: some fail on token types."""
    import inspect

    taken = inspect.signature(pipe.model.forward).parameters
    pipe.tokenizer.model_input_names = [n for n in pipe.tokenizer.model_input_names if n in taken]


def compare(
    reference: Sequence[tuple[list[float], list[float]] | str],
    found: Sequence[tuple[list[float], list[float]] | str],
) -> dict[str, Any]:
    """How far probabilities are from transformers'; Differs where they are not the same."""
    largest, texts = 0.0, 0
    for (text, pair), theirs, ours in zip(TEXTS, reference, found, strict=True):
        what = f"{text[:40]!r}" + (f" with {pair[:40]!r}" if pair is not None else "")
        if isinstance(theirs, str):
            if pair is None:
                raise Differs(
                    f"transformers' own pipeline fails on {what}: {theirs}; give a --max-length that the "
                    "model reads, or mend the folder until the pipeline works"
                )
            continue
        if isinstance(ours, str):
            raise Differs(
                f"transformers' pipeline classifies {what}, and here it fails: {ours}; please report it"
            )
        gap = _gap(theirs[1], ours[1])
        if not (gap <= PROBABILITIES and _gap(theirs[0], ours[0]) <= LOGITS * _scale(theirs[0])):
            raise Differs(
                f"of {what} transformers' pipeline says {_short(theirs[1])} and the archive would say "
                f"{_short(ours[1])}, so it is not built; please report the architecture"
            )
        largest, texts = max(largest, gap), texts + 1
    return {"texts": texts, "largest_gap": float(f"{largest:.1g}")}


def _gap(one: Sequence[float], other: Sequence[float]) -> float:
    if len(one) != len(other):
        return float("inf")
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)


def _scale(logits: Sequence[float]) -> float:
    return max(1.0, *map(abs, logits))


def _short(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values[:3]) + (" …" if len(values) > 3 else "")
