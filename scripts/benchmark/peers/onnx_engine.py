"""ONNX Runtime without a server, a text at a time: onnx_engine.py MODEL_DIR NAME JOBS.json."""

import sys
from pathlib import Path

from measuring import measure
from onnx_model import Session

name = sys.argv[2]
session = Session(Path(sys.argv[1]))
measure(
    name,
    "int8" if "int8" in name else "float32",
    Path(sys.argv[3]),
    session.inputs,
    lambda inputs: [int(session.logits(each).argmax()) for each in inputs],
)
