"""Export a classifier to ONNX in float32, with its tokenizer: onnx_export.py MODEL_DIR OUTPUT_DIR."""

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model_dir, output = map(Path, sys.argv[1:])
output.mkdir(exist_ok=True)
for name in ("tokenizer.json", "config.json"):
    shutil.copyfile(model_dir / name, output / name)

tokenizer = AutoTokenizer.from_pretrained(model_dir)
# attention spelt out makes a faster graph than torch's attention operator does
model = AutoModelForSequenceClassification.from_pretrained(
    model_dir, dtype=torch.float32, attn_implementation="eager"
).eval()
# two texts: an example of one would fix the number of texts
example = tokenizer(["Where is my card?", "It is here."], padding=True, return_tensors="pt")
names = ("input_ids", "attention_mask", "token_type_ids")
sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
torch.onnx.export(
    model,
    kwargs={name: example[name] for name in names},
    f=output / "model.onnx",
    input_names=names,
    output_names=["logits"],
    dynamic_shapes=dict.fromkeys(names, sizes),
    dynamo=True,
)
