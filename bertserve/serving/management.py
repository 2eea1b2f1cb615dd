"""Changes to what TorchServe serves, over its gRPC management API.

Its REST API makes them on the threads that carry requests, which wait meanwhile. A change is asked for
once: whether one that was not answered was made is for the caller to see.
"""

from __future__ import annotations

from typing import Any

import grpc

from ..clients import CHANNEL_OPTIONS, KeyReader, as_client_error
from ..errors import BertserveError, ClientError, KeyRefused, ServerError
from ..protos import management_pb2, management_pb2_grpc

# seconds: loading takes what the archive's startupTimeout allows, and nothing else takes long
LOADING, CHANGING = 900.0, 120.0


def change(target: str, read_key: KeyReader, method: str, request: Any, timeout: float) -> None:
    """Ask for a change and wait until it is made; ServerError where TorchServe refuses."""
    key = read_key("management", None)
    try:
        _call(target, key, method, request, timeout)
    except KeyRefused:  # before anything was done
        if (other := read_key("management", key)) == key:
            raise
        _call(target, other, method, request, timeout)


def _call(target: str, key: str | None, method: str, request: Any, timeout: float) -> None:
    metadata = [("authorization", f"Bearer {key}")] if key else []
    with grpc.insecure_channel(target, CHANNEL_OPTIONS) as channel:
        stub: Any = management_pb2_grpc
        call = getattr(stub.ManagementAPIsServiceStub(channel), method)
        try:
            call(request, metadata=metadata, timeout=timeout)
        except grpc.RpcError as error:
            raise _refusal(error, target) from error


def scaling(
    name: str, version: str, workers: int, wait: bool = True
) -> management_pb2.ScaleWorkerRequest:
    """To have so many workers, one at least; it is answered when they are READY, or at once."""
    return management_pb2.ScaleWorkerRequest(
        model_name=name,
        model_version=version,
        min_worker=workers,
        max_worker=workers,
        synchronous=wait,
    )


def _refusal(error: Any, target: str) -> BertserveError:
    reason = " ".join(str(error.details()).split())
    if error.code() == grpc.StatusCode.PERMISSION_DENIED and "API" in reason:
        return ServerError(
            "the server registers and takes away no models; set enable_model_api=true in its "
            "config.properties and start it again"
        )
    found = as_client_error(error, target, 0)
    if type(found) is ClientError:
        return ServerError(f"TorchServe refuses: {reason}; the worker's log may say more")
    return found
