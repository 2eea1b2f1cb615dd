"""A fine-tuned BERT-family classifier behind TorchServe, in production.

archive      from a Hugging Face folder to a `.mar` archive, and what is in one
config       where a server listens, from its config.properties
server       start, find, watch and stop a TorchServe
keys         the tokens that TorchServe wants to see
client       classify texts over HTTP and gRPC: Client, GrpcClient and their asynchronous twins
results      what clients send and get
conversation, waiting, over_http, over_grpc, batches, protos
             what the clients are made of
interrupts   Ctrl-C while something must not be left half done
errors       what goes wrong, as one tree
files        texts from files, results to files
evaluation, comparison, report, quality
             how good a model is on labelled texts, two side by side, as a page of HTML
calibration  probabilities that can be believed, and levels for decisions, from labelled texts
scoring      logits of many texts, by an archive or a served model
explanations which words carried a prediction, as a page of HTML
cli          the commands
"""

from .client import AsyncClient, AsyncGrpcClient, Client, GrpcClient
from .errors import BertserveError, ClientError, TextError
from .results import Explanation, Pair, Prediction, Word

__all__ = [
    "AsyncClient",
    "AsyncGrpcClient",
    "BertserveError",
    "Client",
    "ClientError",
    "Explanation",
    "GrpcClient",
    "Pair",
    "Prediction",
    "TextError",
    "Word",
]
