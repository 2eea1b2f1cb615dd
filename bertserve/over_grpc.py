"""Operations over TorchServe's gRPC APIs, and what its errors mean."""

from __future__ import annotations

from typing import Any

import grpc

from .conversation import Describe, Operation, Predict, settle
from .errors import ClientError, KeyRefused, ModelNotFound, TimedOut, TooLarge, Unavailable
from .protos import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc

CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),  # answers of many texts pass gRPC's 4 MB
    ("grpc.max_reconnect_backoff_ms", 2_000),  # a server that comes back is found soon
]
# what TorchServe says, as INTERNAL, where HTTP has a status of its own
_WORTH_ANOTHER_TRY = ("Worker died", "has no worker to serve", "Out of resources")
_NOT_FOUND = ("ModelNotFoundException", "ModelVersionNotFoundException")


class GrpcTransport:
    """The channels may be blocking or asynchronous; the targets are for messages."""

    def __init__(self, channels: dict[str, Any], targets: dict[str, str]) -> None:
        self._channels = channels
        self._targets = targets
        self._inference = inference_pb2_grpc.InferenceAPIsServiceStub(channels["inference"])  # type: ignore[no-untyped-call]
        self._management = management_pb2_grpc.ManagementAPIsServiceStub(channels["management"])  # type: ignore[no-untyped-call]

    async def send(self, operation: Operation, key: str | None, timeout: float) -> bytes:
        """The JSON of the answer; a ClientError where there is none."""
        metadata = [("authorization", f"Bearer {key}")] if key else []
        method, message = self._as_call(operation)
        try:
            answer = await settle(method(message, metadata=metadata, timeout=timeout))
        except grpc.RpcError as error:
            raise failure(error, self._targets[operation.kind]) from error
        if isinstance(operation, Predict):
            return bytes(answer.prediction)
        return str(answer.msg).encode()

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels.values():
            await settle(channel.close())

    def _as_call(self, operation: Operation) -> tuple[Any, Any]:
        if isinstance(operation, Predict):
            return self._inference.Predictions, inference_pb2.PredictionsRequest(
                model_name=operation.model,
                model_version=operation.version or "",
                input={"data": operation.body},
            )
        if isinstance(operation, Describe):
            return self._management.DescribeModel, management_pb2.DescribeModelRequest(
                model_name=operation.model,
                model_version=operation.version or "",
                customized=operation.customized,
            )
        return self._management.ListModels, management_pb2.ListModelsRequest(
            limit=operation.limit, next_page_token=operation.page_token
        )


def failure(error: Any, target: str) -> ClientError:
    """What a gRPC status means; TorchServe answers many things with INTERNAL."""
    code, reason = error.code(), " ".join(str(error.details()).split())
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        return KeyRefused(f"the server refuses the key: {reason}")
    if code == grpc.StatusCode.NOT_FOUND or any(name in reason for name in _NOT_FOUND):
        return ModelNotFound(f"the server has no such model: {reason}; see `bertserve status`")
    # TorchServe resets the stream of a message that is too large, often before its status arrives
    if code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED):
        return TooLarge(f"the text is larger than the server's max_request_size: {reason}")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return TimedOut(f"no answer from {target} in time ({code.name})")
    if code == grpc.StatusCode.UNAVAILABLE:
        return Unavailable(
            f"no answer from {target} ({reason}); is the server running? `bertserve status`"
        )
    if any(words in reason for words in _WORTH_ANOTHER_TRY):
        return Unavailable(f"the model cannot answer now: {reason}")
    return ClientError(f"the server answers with an error: {reason} ({code.name})")
