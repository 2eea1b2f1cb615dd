"""Which words carried a prediction, bounded in what it costs the predictions beside it.

Explanations are computed one by one, after the predictions of their batch. Each has a few seconds, and
together they have half of the worker's time, see `Share`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from ..errors import RequestError
from ..text import Tokenizer, to_words
from ..values import Explanation, Prediction, Text
from .gradients import Gradients, NotOfTheModel, TooLate

TIME_LIMIT = 5.0  # seconds for one explanation
ADVANCE = 1.0  # seconds that may be spent before they are saved
_SHOWN_LABELS = 5

logger = logging.getLogger(__name__)


class Share:
    """Half of the time: what took t seconds is followed by a pause of t seconds, less the `advance`.

    So short explanations may follow each other for a moment, and in the long run at least half of the
    time is left for predictions.
    """

    def __init__(
        self, advance: float = ADVANCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.advance = advance
        self._clock = clock
        self._paid = -math.inf  # when all that was taken will have been followed by its pause

    def wait(self) -> float:
        """Seconds until the next one may begin, 0 where it may now."""
        return max(0.0, self._paid - self._clock() - self.advance)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Count the seconds that a block takes, even if it fails."""
        start = self._clock()
        try:
            yield
        finally:
            self._paid = max(self._paid, start) + 2 * (self._clock() - start)


class Explainer:
    """Explains predictions of the model in a folder; what that needs is loaded at the first one.

    labels       in the order of the logits
    time_limit   seconds for one explanation, if less than usual
    """

    def __init__(
        self,
        model_dir: Path,
        labels: Sequence[str],
        device: torch.device,
        tokenizer: Tokenizer,
        time_limit: float = math.inf,
    ) -> None:
        self.share = Share()
        self.time_limit = min(TIME_LIMIT, time_limit)
        self._model_dir = model_dir
        self._labels = list(labels)
        self._device = device
        self._tokenizer = tokenizer
        self._gradients: Gradients | RequestError | None = None

    def __call__(self, text: Text, prediction: Prediction) -> Explanation | RequestError:
        """The words of a text that carried its prediction, for the label that the text asks for."""
        try:
            return self._explain(text, prediction)
        except RequestError as error:
            return error
        except (MemoryError, torch.AcceleratorError):  # no text's fault: for TorchServe to see
            raise
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return RequestError(
                "overloaded", "there is not enough GPU memory to explain this text; shorten it"
            )
        except TooLate:
            return RequestError(
                "text_too_long",
                f"to explain this text takes more than {self.time_limit:g} s here; shorten it, or "
                'send a smaller "max_length"',
                tokens=prediction.tokens,
            )
        except Exception as error:
            logger.error("a text could not be explained: %s", type(error).__name__)
            return RequestError(
                "internal_error", "the text could not be explained; please report this"
            )

    def _explain(self, text: Text, prediction: Prediction) -> Explanation:
        label = text.explain.label if text.explain else None
        if label is None:
            label = next(iter(prediction.probabilities))
        elif label not in self._labels:
            raise _unknown_label(self._labels)
        if wait := self.share.wait():
            raise _not_now(wait)
        gradients = self._loaded()
        with self.share.taken():
            last = time.monotonic() + self.time_limit
            encoding, pieces = self._tokenizer.pieces(text)
            is_special = [piece.of is None for piece in pieces]
            try:
                found = gradients(encoding, is_special, self._labels.index(label), last)
            except NotOfTheModel:
                raise _unsupported(
                    "this text cannot be explained: the model does not compute the same from its "
                    "embeddings as from its tokens"
                ) from None
        return Explanation(
            label,
            found.logit,
            found.baseline_logit,
            found.gap,
            to_words(pieces, found.values, text),
        )

    def _loaded(self) -> Gradients:
        """What explains; loading it takes long, so why it failed holds until the worker ends."""
        if self._gradients is None:
            self._gradients = self._load()
        if isinstance(self._gradients, RequestError):
            raise self._gradients
        return self._gradients

    def _load(self) -> Gradients | RequestError:
        try:
            return Gradients(
                self._model_dir,
                self._device,
                self._tokenizer.pad_token_id,
                self._tokenizer.gives_token_types,
            )
        except (MemoryError, torch.AcceleratorError):
            raise
        except ImportError:
            return _unsupported(
                "explanations need captum where the model is served, and it is not installed; "
                "run pip install 'bertserve[explain]' there and start the server again"
            )
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            return _unsupported(
                "there is not enough GPU memory to explain: it takes a second copy of the model, in "
                "float32; serve fewer workers on this GPU"
            )
        except Exception as error:
            logger.error("what explains could not be loaded: %s", type(error).__name__)
            return _unsupported("this model cannot be explained; please report this")


def _unsupported(message: str) -> RequestError:
    return RequestError("explanations_unsupported", message)


def _unknown_label(labels: Sequence[str]) -> RequestError:
    more = len(labels) - _SHOWN_LABELS
    quoted = ", ".join(f'"{label}"' for label in labels[:_SHOWN_LABELS])
    shown = quoted + (f" and {more} more" if more > 0 else "")
    return RequestError("invalid_value", f'the model has no such "label"; it has {shown}')


def _not_now(wait: float) -> RequestError:
    return RequestError(
        "explanations_paused",
        "explanations have had their share of this worker's time; try again in "
        f"{max(0.1, wait):.1f} s",
    )
