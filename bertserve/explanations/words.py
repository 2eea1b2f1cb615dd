"""Texts in pieces, each as strong as what its word adds to a label's logit."""

from __future__ import annotations

from collections.abc import Iterator

from ..clients import Explanation

FLOOR = 0.5  # logits: what a word adds at least to be shown at full strength


def parts(text: str, of: str, explanation: Explanation) -> Iterator[tuple[str, float]]:
    """The text in pieces, and how strong each is: from -1 against the label to 1 for it.

    What is of no word has no strength. The strongest word of all has 1 or -1, if it is worth it.
    """
    most = full_strength(explanation)
    end = 0
    for word in explanation.words:
        if word.of != of:
            continue
        if word.start > end:
            yield text[end : word.start], 0.0
        yield text[word.start : word.end], word.attribution / most
        end = max(end, word.end)
    if end < len(text):
        yield text[end:], 0.0


def full_strength(explanation: Explanation) -> float:
    """What a word adds that is shown at full strength: as much as the strongest, but FLOOR at least."""
    return max(FLOOR, *(abs(word.attribution) for word in explanation.words), 0.0)


def remark(explanation: Explanation) -> str | None:
    """A sentence where the words carry next to nothing, or no figure can be relied on."""
    moved = explanation.logit - explanation.baseline_logit
    strongest = max((abs(word.attribution) for word in explanation.words), default=0.0)
    if explanation.completeness_gap > max(strongest, abs(moved) / 2, 0.01):
        return "The figures miss the change of the logit by more than they are: they say nothing."
    if sum(abs(word.attribution) for word in explanation.words) < FLOOR:
        return f"Together the words move the logit by {moved:+.2g}: none of them carries this prediction."
    return None
