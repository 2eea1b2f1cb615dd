"""Quantize what onnx_export.py wrote to int8, as ONNX Runtime does transformers: onnx_quantize.py DIR."""

import sys
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

folder = Path(sys.argv[1])
model = onnx.load(
    folder / "model.onnx"
)  # with what lies beside it: there it would not be found again
# shapes of the exporter's, of tensors between, hinder it
del model.graph.value_info[:]
quantize_dynamic(model, folder / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
(folder / "model.onnx.data").unlink(missing_ok=True)
(folder / "int8.onnx").replace(folder / "model.onnx")
