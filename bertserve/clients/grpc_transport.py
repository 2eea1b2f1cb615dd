"""Operations over TorchServe's gRPC APIs, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from ..errors import (
    ClientError,
    KeyRefused,
    ModelNotFound,
    TimedOut,
    TooLarge,
    Unavailable,
    WorkerDied,
)
from ..protos import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc
from .concurrency import settle
from .keys import Kind
from .operations import Describe, Operation, Predict

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # answers of many texts pass gRPC's 4 MB
    ("grpc.max_reconnect_backoff_ms", 2_000),  # a server that comes back is found soon
]
# what TorchServe says, as INTERNAL, where HTTP has a status of its own; and gRPC itself, where a proxy
# has lost the server in the middle of an answer
_WORTH_ANOTHER_TRY = ("has no worker to serve", "Out of resources", "RST_STREAM", "Stream removed")
# the handler's own answers that another try may mend
_PASSING = tuple(
    f'{{"error":{{"code":"{code}"'.encode() for code in ("overloaded", "explanations_paused")
)
# bytes; no server has a smaller max_request_size
_LARGE = 64 * 1024
_STUBS: dict[Kind, Any] = {
    "inference": inference_pb2_grpc.InferenceAPIsServiceStub,
    "management": management_pb2_grpc.ManagementAPIsServiceStub,
}
_NOT_FOUND = ("ModelNotFoundException", "ModelVersionNotFoundException")


class GrpcTransport:
    """`open_channel` opens a blocking or an asynchronous channel to a target.

    It is called at the first request, since an asynchronous channel belongs to the loop that it is
    opened in.
    """

    def __init__(self, open_channel: Callable[[str], Any], targets: dict[Kind, str]) -> None:
        self._open_channel = open_channel
        self._targets = targets
        self._channels: dict[Kind, Any] = {}
        self._stubs: dict[Kind, Any] = {}

    async def send(self, operation: Operation, key: str | None, timeout: float) -> bytes:
        """The JSON of the answer; a ClientError where there is none."""
        metadata = [("authorization", f"Bearer {key}")] if key else []
        method, message = as_call(operation, self._stub(operation.kind))
        try:
            answer = await settle(method(message, metadata=metadata, timeout=timeout))
        except grpc.RpcError as error:
            target = self._targets[operation.kind]
            raise as_client_error(error, target, message.ByteSize()) from error
        if isinstance(operation, Predict):
            return _accepted(answer.prediction)
        return str(answer.msg).encode()

    def _stub(self, kind: Kind) -> Any:
        if kind not in self._stubs:
            self._channels[kind] = self._open_channel(self._targets[kind])
            self._stubs[kind] = _STUBS[kind](self._channels[kind])
        return self._stubs[kind]

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await settle(channel.close())


def as_call(operation: Operation, stub: Any) -> tuple[Any, Any]:
    """Method and message of an operation."""
    if isinstance(operation, Predict):
        return stub.Predictions, inference_pb2.PredictionsRequest(
            model_name=operation.model,
            model_version=operation.version or "",
            input={"data": operation.body},
        )
    if isinstance(operation, Describe):
        return stub.DescribeModel, management_pb2.DescribeModelRequest(
            model_name=operation.model,
            model_version=operation.version or "",
            customized=operation.customized,
        )
    return stub.ListModels, management_pb2.ListModelsRequest(
        limit=operation.limit, next_page_token=operation.page_token
    )


def _accepted(prediction: bytes) -> bytes:
    """The answer, unless it says what HTTP says by the status 503 or 429."""
    if prediction.startswith(_PASSING):
        raise Unavailable("the model cannot answer now: it is overloaded, or has explained enough")
    return prediction


def as_client_error(error: Any, target: str, size: int) -> ClientError:
    """What a gRPC status means for a message of `size` bytes; TorchServe's usual one is INTERNAL."""
    code, reason = error.code(), " ".join(str(error.details()).split())
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        by_proxy = code == grpc.StatusCode.UNAUTHENTICATED
        return KeyRefused(f"the server refuses the key: {reason}", by_proxy)
    if code == grpc.StatusCode.NOT_FOUND or any(name in reason for name in _NOT_FOUND):
        return ModelNotFound(f"the server has no such model: {reason}; see `bertserve status`")
    # TorchServe resets the stream of a message that is too large, often before its status arrives; for
    # a small one these mean a limit on the way, or a connection that ends
    broken_off = code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
    if broken_off and size >= _LARGE:
        return TooLarge(f"the text is larger than the server's max_request_size: {reason}")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"no answer from {target} in time ({code.name})")
    if code == grpc.StatusCode.UNAVAILABLE or broken_off:
        return Unavailable(
            f"no answer from {target} ({reason}); is the server running? `bertserve status`"
        )
    if "Worker died" in reason:
        return WorkerDied(f"the model's worker died while it had the request: {reason}")
    if any(words in reason for words in _WORTH_ANOTHER_TRY):
        return Unavailable(f"the model cannot answer now: {reason}")
    return ClientError(f"the server answers with an error: {reason} ({code.name})")
