"""A plain gRPC caller, run as a program on a host, until its input ends; grpcio as it comes.

grpc_caller.py TARGET TOKEN BODY FILE…        FILE holds an answer that is right
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import grpc

from bertserve.protos import inference_pb2

_GIVES_UP = 120  # seconds


def main() -> None:
    """Print an object of JSON for each request, at once."""
    target, token, body, *files = sys.argv[1:]
    right = [json.loads(Path(each).read_bytes()) for each in files]
    metadata = (("authorization", f"Bearer {token}"),)
    request = inference_pb2.PredictionsRequest(model_name="tiny", input={"data": body.encode()})
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    with grpc.insecure_channel(target) as channel:
        predict = channel.unary_unary(
            "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
            request_serializer=inference_pb2.PredictionsRequest.SerializeToString,
            response_deserializer=inference_pb2.PredictionResponse.FromString,
        )
        while not ended.is_set():
            begin, failure = time.monotonic(), ""
            try:
                answer = predict(request, metadata=metadata, timeout=_GIVES_UP)
                if json.loads(answer.prediction) not in right:
                    failure = answer.prediction.decode()
            except grpc.RpcError as error:
                failure = f"{error.code()} {error.details()}"
            told = {"seconds": time.monotonic() - begin, "failure": failure}
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
