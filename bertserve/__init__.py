"""A fine-tuned BERT-family classifier behind TorchServe, in production.

archive      from a Hugging Face folder to a `.mar` archive, and what is in one
config       where a server listens, from its config.properties
server       start, find, watch and stop a TorchServe
management   what TorchServe says of its models
keys         the tokens that TorchServe wants to see
client       classify texts over HTTP
cli          the commands
"""

from .client import Client, Prediction
from .errors import BertserveError, TextError

__all__ = ["BertserveError", "Client", "Prediction", "TextError"]
