"""gRPC calls from the .proto texts as any language would make them, with nothing of the Python package.

predict = method(channel, "org.pytorch.serve.grpc.inference.InferenceAPIsService", "Predictions")
predict({"model_name": "tiny", "input": {"data": b64}})
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PROTOS = Path(__file__).parent.parent / "bertserve" / "protos"
INFERENCE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
OPEN_INFERENCE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"


@cache
def _pool() -> DescriptorPool:
    """The messages and services of all our .proto texts, apart from any others of the same names."""
    pool = DescriptorPool()
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "all.pb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
        command += [f"--descriptor_set_out={compiled}", *map(str, sorted(PROTOS.glob("*.proto")))]
        subprocess.run(command, check=True)
        for file in FileDescriptorSet.FromString(compiled.read_bytes()).file:
            pool.Add(file)
    return pool


def method(
    channel: grpc.Channel, service: str, name: str, package: str | None = None
) -> Callable[..., Any]:
    """A callable that takes a message in protobuf's JSON form, and answers with a message.

    `package` is what the service is called by, where that is another one than its own.
    """
    found = _pool().FindServiceByName(service).methods_by_name[name]
    request, answer = GetMessageClass(found.input_type), GetMessageClass(found.output_type)
    connect: Any = channel.unary_stream if found.server_streaming else channel.unary_unary
    called = f"{package}.{service.rpartition('.')[2]}" if package else service
    return connect(  # type: ignore[no-any-return]
        f"/{called}/{name}",
        request_serializer=lambda value: json_format.ParseDict(
            value, request()
        ).SerializeToString(),
        response_deserializer=answer.FromString,
    )
