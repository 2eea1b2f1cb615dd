"""Convert a classifier for OpenVINO, in int8 too: openvino_export.py MODEL_DIR OUTPUT_DIR TEXTS.json.

int8 is NNCF's own quantization of transformers, with SmoothQuant, calibrated on 300 of the texts.
"""

import json
import shutil
import sys
from pathlib import Path

import nncf
import openvino
import torch
from openvino_model import inputs_of, read_tokenizer
from transformers import AutoModelForSequenceClassification

CALIBRATED_ON = 300

model_dir, output, texts = map(Path, sys.argv[1:])
output.mkdir(exist_ok=True)
for name in ("tokenizer.json", "config.json"):
    shutil.copyfile(model_dir / name, output / name)
model = AutoModelForSequenceClassification.from_pretrained(model_dir, dtype=torch.float32).eval()
tokenizer = read_tokenizer(model_dir)
example = {
    name: torch.from_numpy(each) for name, each in inputs_of(tokenizer, "an example").items()
}
with torch.no_grad():
    converted = openvino.convert_model(model, example_input=example)
openvino.save_model(converted, output / "float.xml", compress_to_fp16=False)
wanted = {name for each in converted.inputs for name in each.get_names()}
some = json.loads(texts.read_bytes())[:CALIBRATED_ON]
quantized = nncf.quantize(
    converted,
    nncf.Dataset(
        some,
        lambda text: {
            name: each for name, each in inputs_of(tokenizer, text).items() if name in wanted
        },
    ),
    subset_size=CALIBRATED_ON,
    model_type=nncf.ModelType.TRANSFORMER,
)
openvino.save_model(quantized, output / "int8.xml", compress_to_fp16=False)
