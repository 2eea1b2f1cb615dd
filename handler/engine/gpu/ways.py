"""The ways to compute a packed model faster on a GPU, each taken only where it gives the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..attention import Attend
from ..packing import PackedModel
from ..trial import Forward, Trial
from .encoder import GpuEncoder, Pointwise
from .graphs import Capturer, Graphs

# a way, why it is not taken ("" where it is), what is done instead → whether it is taken
Taken = Callable[[str, str, str], bool]


def speed_up(trial: Trial, packed: PackedModel, longest: int, taken: Taken) -> Forward:
    """What computes `packed` from now on.

    longest     tokens of the longest text that there may be
    """
    if packed.distances:  # graphs keep to the tables that there are
        packed.distances.for_texts(longest)
    for name, pointwise in (("Triton", _by_triton), ("torch", _by_torch)):
        made: list[GpuEncoder] = []
        reason = trial.differs(partial(_put_in, packed, pointwise, longest, made), packed)
        if taken(f"encoder by {name}", reason, f"has no encoder by {name}"):
            made[0].stay()
            break
    graphs = Graphs(packed, longest)

    def capture() -> Graphs:
        return graphs.capture(Capturer(packed.device))

    # texts alone take other graphs than all of them
    reason = trial.differs(capture, graphs, alone=True) or trial.differs(lambda: graphs, graphs)
    return graphs if taken("graphs", reason, "is launched kernel by kernel") else packed


def attend_by_triton() -> Attend:
    """Attention that knows distances and windows; ImportError where there is no Triton."""
    from . import kernels

    return kernels.attend


def _put_in(
    packed: PackedModel, pointwise: Callable[[], Pointwise], longest: int, made: list[GpuEncoder]
) -> GpuEncoder:
    made.append(GpuEncoder(packed, pointwise(), longest))
    return made[0]


def _by_triton() -> Pointwise:
    from . import kernels  # there may be no Triton

    return kernels


def _by_torch() -> Pointwise:
    from . import plain

    return plain
