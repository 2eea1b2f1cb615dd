"""CUDA graphs of small micro-batches, for which launching kernels takes longer than they do.

A graph repeats what was once done, at the same addresses and with the same sizes. So there is one for
each of some numbers of tokens, with buffers of its own; a micro-batch takes the smallest that it fits
into, and texts that fill it up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...values import Encoding
from ..attention import Packing, pinned, to_device
from ..model_inputs import apart, refuse_beyond, together
from ..packing import PackedModel

# somewhat more than round numbers, at which texts are cut: one token at least is left
_TOKENS = (32, 64, 96, 144, 208, 272, 400, 528, 784, 1_040, 1_552, 2_064, 3_088, 4_112)
_TEXTS = 16
_TOKENS_OF_A_TEXT = 8  # the fewest that larger buckets count with
_CAPTURE_ERRORS = range(900, 909)  # cudaErrorStreamCapture…: they cost the graph, not the GPU

# what computes → what computes the same again, and what it gave, which that overwrites
Capture = Callable[
    [Callable[[], tuple[torch.Tensor, ...]]], tuple[Callable[[], None], tuple[torch.Tensor, ...]]
]


@dataclass(frozen=True, slots=True)
class Bucket:
    """The size of a graph: all its tokens, its texts at most, the tokens of its longest text at most."""

    tokens: int
    texts: int
    longest: int

    def fillers(self, tokens: int) -> list[int]:
        """Lengths of the texts that fill it up beside so many tokens."""
        whole, rest = divmod(self.tokens - tokens, self.longest)
        return [self.longest] * whole + [rest] * (rest > 0)

    def fits(self, lengths: Sequence[int]) -> bool:
        """Whether texts of these lengths leave a token and have room."""
        tokens = sum(lengths)
        return (
            tokens < self.tokens
            and max(lengths) <= self.longest
            and len(lengths) + len(self.fillers(tokens)) <= self.texts
        )

    def lengths(self, lengths: Sequence[int]) -> list[int]:
        """Of all its texts: these, empty ones, and those that fill it up.

        An empty one begins where the first filler does, so that it has a first token to look at.
        """
        fillers = self.fillers(sum(lengths))
        return [*lengths, *[0] * (self.texts - len(lengths) - len(fillers)), *fillers]


def buckets(longest: int) -> list[Bucket]:
    """Those that there are graphs of where texts have so many tokens at most, the smallest first."""
    made = []
    for tokens in _TOKENS:
        length = min(tokens, longest)
        texts = max(_TEXTS, tokens // _TOKENS_OF_A_TEXT) + -(-tokens // length)
        made.append(Bucket(tokens, texts, length))
    return made


class Graphs:
    """A packed model whose small micro-batches are graphs; the others it computes itself, as `packed`.

    `states` is what the encoder gave at the last call, None where no graph did it.
    """

    def __init__(self, packed: PackedModel, longest: int) -> None:
        self.packed = packed
        self._buckets = buckets(longest)
        self._graphs: list[_Graph] = []
        self.states: torch.Tensor | None = None

    def capture(self, capture: Capture) -> Graphs:
        """Make them, the largest first: the others find room in its memory."""
        made = [_Graph(self.packed, bucket, capture) for bucket in reversed(self._buckets)]
        self._graphs = made[::-1]
        return self

    def __call__(self, encodings: Sequence[Encoding]) -> torch.Tensor:
        """Logits [texts, labels], on the model's device."""
        lengths = [len(encoding.input_ids) for encoding in encodings]
        graph = next((each for each in self._graphs if each.bucket.fits(lengths)), None)
        if graph is None:
            self.states = None
            return self.packed(encodings)
        logits, states = graph(encodings)
        self.states = states[: len(encodings)]
        return logits[: len(encodings)].clone()  # the next one overwrites it

    def undo(self) -> None:
        """Let them go."""
        self._graphs = []


class _Graph:
    """One of a size, with what it reads and writes."""

    def __init__(self, packed: PackedModel, bucket: Bucket, capture: Capture) -> None:
        self.bucket = bucket
        self._packed = packed
        inputs = self._inputs([])
        self._row = to_device(together(inputs), packed.device)
        parts = apart(self._row, inputs)
        starts = parts.pop("starts")
        lengths = bucket.lengths([])

        def compute() -> tuple[torch.Tensor, ...]:
            seen: list[torch.Tensor] = []
            hook = packed.base.register_forward_hook(lambda _, __, output: seen.append(output[0]))
            try:
                packing = Packing(lengths, starts.to(packed.packing.starts.dtype))
                return packed.compute(parts, packing), *seen
            finally:
                hook.remove()

        self._replay, self._found = capture(compute)

    def __call__(self, encodings: Sequence[Encoding]) -> tuple[torch.Tensor, ...]:
        """Logits and states of these texts, and of others after them, until the next call."""
        row = together(self._inputs(encodings))
        self._row.copy_(pinned(row, self._row.device), non_blocking=True)
        self._replay()
        return self._found

    def _inputs(self, encodings: Sequence[Encoding]) -> dict[str, torch.Tensor]:
        """Those texts and the ones that fill it up, on the CPU."""
        lengths = [len(encoding.input_ids) for encoding in encodings]
        like = encodings[0] if encodings else Encoding([0], [0], truncated=False)
        fillers = [
            Encoding(like.input_ids[:1] * length, like.token_type_ids[:1] * length, truncated=False)
            for length in self.bucket.fillers(sum(lengths))
        ]
        inputs = self._packed.read([*encodings, *fillers])
        refuse_beyond(inputs, self._packed.sizes)
        starts = torch.tensor([0, *self.bucket.lengths(lengths)]).cumsum(0)
        return {**inputs, "starts": starts}


class Capturer:
    """Captures graphs that share their memory, for no two are ever replayed at once."""

    def __init__(self, device: torch.device) -> None:
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(
        self, compute: Callable[[], tuple[torch.Tensor, ...]]
    ) -> tuple[Callable[[], None], tuple[torch.Tensor, ...]]:
        """See `Capture`; RuntimeError for what cannot be captured."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            compute()  # what is made at a first call cannot be made within a graph
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # other threads of a worker may do what they like meanwhile
        capturing = torch.cuda.graph(
            graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        try:
            with torch.cuda.stream(current), capturing:  # that stays in its stream if it fails
                found = compute()
        except torch.AcceleratorError as error:
            if getattr(error, "error_code", None) not in _CAPTURE_ERRORS:
                raise  # the GPU is lost to this process
            raise RuntimeError(str(error).partition("\n")[0]) from error
        graph.replay()  # the first time takes longer
        return graph.replay, found
