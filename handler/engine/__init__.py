"""Token ids become logits.

classifier      the way through: micro-batches of token ids become logits
loading         a folder's classifier, from safetensors alone, in its precision
devices         the GPU that TorchServe gave, or a share of the CPU's cores
batching        micro-batches by a token budget
packing         padding-free forward: a micro-batch is one row of tokens
attention       of texts that lie in a row, each within itself
modules         modules that compute on CPUs what torch's own do, in less time, or the same in any batch
placed_encoder  what computes an encoder in another way, in the place of its own
fused_encoder   a whole encoder in one call
encoders/       what encoders are made of, and what positions do to their attention
model_inputs    what a model reads, checked before it goes to the device
trial           a change is kept only where random texts get the same as before
random_texts    those texts
state           what modules hold, so that one that changes itself can be put back
gpu/            a packed model in fewer kernels, and in graphs of them
kernels/        what torch is slow at, in C++, for each kind of CPU
"""

from .classifier import Classifier
from .devices import choose_device, choose_precision, cpu_cores, use_threads
from .loading import check_vocabulary, check_weights, inputs_of, load_model, longest_input
from .random_texts import RandomTexts
from .state import State

__all__ = [
    "Classifier",
    "RandomTexts",
    "State",
    "check_vocabulary",
    "check_weights",
    "choose_device",
    "choose_precision",
    "cpu_cores",
    "inputs_of",
    "load_model",
    "longest_input",
    "use_threads",
]
