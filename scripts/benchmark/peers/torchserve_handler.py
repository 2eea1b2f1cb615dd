"""TorchServe with an ordinary handler: a batch is tokenized together, padded, and classified."""

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from ts.torch_handler.base_handler import BaseHandler


class TextClassifier(BaseHandler):
    def initialize(self, context):
        model_dir = context.system_properties["model_dir"]
        self.padding = context.model_yaml_config["handler"]["padding"]
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            model_dir, dtype=torch.float32
        )
        self.model.eval()
        self.labels = self.model.config.id2label
        self.initialized = True

    def preprocess(self, rows):
        bodies = [row.get("data") or row.get("body") for row in rows]
        texts = [body["text"] for body in bodies]
        return self.tokenizer(texts, padding=self.padding, truncation=True, return_tensors="pt")

    def inference(self, inputs):
        with torch.inference_mode():
            return self.model(**inputs).logits

    def postprocess(self, logits):
        rows = torch.softmax(logits, dim=1).tolist()
        return [
            {self.labels[index]: probability for index, probability in enumerate(row)}
            for row in rows
        ]
