"""Quantize what onnx_export.py wrote to int8, as ONNX Runtime does transformers: onnx_quantize.py DIR."""

import sys
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

folder = Path(sys.argv[1])
# its symbolic shapes cannot be inferred, nor are they needed
quant_pre_process(folder / "model.onnx", folder / "prepared.onnx", skip_symbolic_shape=True)
quantize_dynamic(
    folder / "prepared.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True
)
(folder / "int8.onnx").replace(folder / "model.onnx")
