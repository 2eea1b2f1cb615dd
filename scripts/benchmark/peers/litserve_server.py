"""LitServe with batching: texts that come within a few milliseconds are classified together."""

import sys

import litserve
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

MODEL_DIR, PORT = sys.argv[1:]


class TextClassifier(litserve.LitAPI):
    def setup(self, device):
        self.tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            MODEL_DIR, dtype=torch.float32
        )
        self.model.to(device).eval()
        self.labels = self.model.config.id2label

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        inputs = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            return torch.softmax(self.model(**inputs).logits, dim=1).tolist()

    def encode_response(self, probabilities):
        return [
            {"label": self.labels[index], "score": score}
            for index, score in enumerate(probabilities)
        ]


if __name__ == "__main__":
    server = litserve.LitServer(
        TextClassifier(max_batch_size=32, batch_timeout=0.005), accelerator="cpu", timeout=60
    )
    server.run(host="127.0.0.1", port=int(PORT), generate_client_file=False, log_level="warning")
