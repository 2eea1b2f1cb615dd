"""A fine-tuned BERT-family classifier behind TorchServe, in production.

archives/   from a Hugging Face folder to a `.mar` archive, and what is in one
serving/    TorchServe started, watched and stopped
versions/   what a server serves, and how that is changed
clients/    classify texts over HTTP and gRPC: Client, GrpcClient and their asynchronous twins
quality/    how good a model is on labelled texts, and probabilities that can be believed
explanations/  which words carried a prediction, shown
openapi/    a served model's HTTP API as an OpenAPI document
console/    a local page over all of it
cli/        the commands
handler/    what runs inside TorchServe's workers, and travels in every archive
protos/     TorchServe's gRPC APIs
system/     signals, processes, folders
inputs      what is classified
errors      what goes wrong, as one tree
"""

from .clients import AsyncClient, AsyncGrpcClient, Client, Explanation, GrpcClient, Prediction, Word
from .errors import BertserveError, ClientError, TextError
from .inputs import Pair

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
