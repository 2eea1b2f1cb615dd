"""Every body, whichever protocol, becomes a Request or an error of its own; every Request is answered
in the protocol it came in.

rows             how TorchServe hands rows over and takes answers back, with its traps
protocols        which protocol a body is of
body, checks     what all protocols share: bytes to JSON, limits, the checks of values
native           the protocol of this project: text/plain, {"text"}, {"texts"}
explanations     its explanations: /explanations, or {"text", "explain": true}
huggingface      {"inputs": "…"}, Hugging Face Inference and SageMaker
kserve           {"instances": […]}, KServe v1
open_inference   {"inputs": [tensor, …]}, the Open Inference Protocol v2, REST and gRPC
requests         what is no protocol's: a description, a request that is wrong as a whole
answers          Requests become bytes, none larger than TorchServe passes on
json_writer      values as JSON bytes
"""

from .answers import Answer, write
from .json_writer import WRITER
from .native import read_single
from .protocols import read, texts
from .rows import Row, keep_bodies_raw, read_rows, send

__all__ = [
    "WRITER",
    "Answer",
    "Row",
    "keep_bodies_raw",
    "read",
    "read_rows",
    "read_single",
    "send",
    "texts",
    "write",
]
