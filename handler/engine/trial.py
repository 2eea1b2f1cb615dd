"""A change to a model is kept only where random texts then get the same from it as before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel

from ..values import Encoding
from .packing import pools_mean
from .random_texts import RandomTexts
from .state import State

_LENGTHS = (30, 12, 7, 7, 3)  # beside the longest
_LONGEST = 1_024

# texts → logits [texts, labels]
Forward = Callable[[Sequence[Encoding]], torch.Tensor]


class Change(Protocol):
    """Something that was done to a model."""

    def undo(self) -> None:
        """Leave the model as it was."""


class Trial:
    """What a model gives for random texts, each alone; `padded` computes it.

    Looked at are the logits and, for a confident model gives nearly all texts the same ones, what its
    encoder gives for the first token, or for all of them where the head looks at their mean.

    `longest` is the length of the longest text, in tokens. `changes_itself` says that a forward left the
    model another than it was; each begins with a fresh one here, and leaves it so.
    """

    def __init__(
        self, model: PreTrainedModel, padded: Forward, texts: RandomTexts, max_length: int
    ) -> None:
        self._model = model
        self._mean = pools_mean(model)
        self.longest = min(_LONGEST, max_length)
        self._changed = False
        generator = torch.Generator().manual_seed(0)
        lengths = [min(length, max_length) for length in (_LONGEST, *_LENGTHS)]
        self._texts = [texts(length, generator) for length in lengths]
        fresh = State(model)
        seen = [self._look(padded, [text], fresh) for text in self._texts]
        self._expected = [torch.cat(values) for values in zip(*seen, strict=True)]
        self.changes_itself = self._changed  # what is put into a model may, and means to

    def differs(
        self, change: Callable[[], Change] | None, forward: Forward, alone: bool = False
    ) -> str:
        """Why a change makes a difference, "" where it makes none; it is undone where it makes one.

        `change`    None: only `forward` is another
        `alone`     each text is computed alone again, not all of them together
        """
        changed, before = None, State(self._model)
        try:
            changed = change() if change else None
            reason = self._reason(forward, alone)
        except torch.AcceleratorError:  # the GPU is lost to this process
            raise
        except Exception as error:  # an architecture that does not follow transformers' interface
            reason = f"{type(error).__name__}: {error}"
        if reason:
            if changed:
                changed.undo()
            before.restore()  # a change that failed half-way
        return reason

    def _reason(self, forward: Forward, alone: bool) -> str:
        fresh = State(self._model)  # as it is with the change
        if alone:
            seen = [self._look(forward, [text], fresh) for text in self._texts]
            found = [torch.cat(values) for values in zip(*seen, strict=True)]
        else:
            found = self._look(forward, self._texts, fresh)
        precision = max(1e-4, 16 * torch.finfo(self._model.base_model.dtype).eps)
        logits, before = found[0], self._expected[0]
        difference = (logits - before).abs().max().item()
        if not difference <= precision * max(1.0, before.abs().max().item()):
            return f"its logits would differ by {difference:.2g}"
        states, before = found[1], self._expected[1]
        share = ((states - before).norm(dim=1) / before.norm(dim=1)).max().item()
        return "" if share <= precision else f"its states would differ by {share:.1%}"

    def _look(
        self, forward: Forward, texts: Sequence[Encoding], fresh: State
    ) -> list[torch.Tensor]:
        """Logits [texts, labels] and states of the first token [texts, size], float32."""
        states: list[torch.Tensor] = []
        waiting = iter(texts)

        def keep(_: Any, __: Any, output: Any) -> None:
            for rows, text in zip(output[0], waiting, strict=False):
                some = rows[: len(text.input_ids)] if self._mean else rows[:1]
                states.append((some.float().mean(0) if rows.dim() > 1 else rows).flatten())

        hook = self._model.base_model.register_forward_hook(keep)
        try:
            logits = forward(texts).float()
            if not states:  # of a graph, within which no hook is called
                keep(None, None, [forward.states])  # type: ignore[attr-defined]
        finally:
            hook.remove()
            self._changed |= fresh.restore()
        return [logits, torch.stack(states).float()]
