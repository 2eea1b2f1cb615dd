"""Classify texts over HTTP and gRPC.

client           Client and GrpcClient, and their asynchronous twins
results          what they answer
session          what is said to a server: keys, batches, and when to try again; once for all four
operations       what can be asked
http_transport, grpc_transport
                 how it is carried, and what errors mean
concurrency      how clients wait: by blocking, or with asyncio
keys             the tokens that TorchServe wants to see
canary           a share of the requests for a version that is tried
batches          texts of any source, in batches that are not too large
examples         a request as a command and as programs, to copy
files, outputs   texts from files, results to files
"""

from .batches import TEXTS_PER_REQUEST
from .canary import Canary, StoredCanary, read_canaries, store_canary
from .client import AsyncClient, AsyncGrpcClient, Client, GrpcClient
from .examples import snippets
from .files import LONGEST_FIELD, PAIR_COLUMN, Row, read_rows, read_texts, refuse_constant, row_of
from .grpc_transport import CHANNEL_OPTIONS, as_client_error
from .keys import KeyReader, Kind, bearer, fresh_key, seconds_left
from .outputs import Result, kept_names, write_csv, write_json, write_jsonl
from .results import (
    GONE,
    READY,
    STUCK,
    Description,
    Explanation,
    Model,
    Options,
    Prediction,
    Word,
    Worker,
    to_wire,
)

__all__ = [
    "CHANNEL_OPTIONS",
    "GONE",
    "LONGEST_FIELD",
    "PAIR_COLUMN",
    "READY",
    "STUCK",
    "TEXTS_PER_REQUEST",
    "AsyncClient",
    "AsyncGrpcClient",
    "Canary",
    "Client",
    "Description",
    "Explanation",
    "GrpcClient",
    "KeyReader",
    "Kind",
    "Model",
    "Options",
    "Prediction",
    "Result",
    "Row",
    "StoredCanary",
    "Word",
    "Worker",
    "as_client_error",
    "bearer",
    "fresh_key",
    "kept_names",
    "read_canaries",
    "read_rows",
    "read_texts",
    "refuse_constant",
    "row_of",
    "seconds_left",
    "snippets",
    "store_canary",
    "to_wire",
    "write_csv",
    "write_json",
    "write_jsonl",
]
