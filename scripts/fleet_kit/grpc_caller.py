"""A plain gRPC caller, run as a program on a host: it tries nothing twice, until its input ends.

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

_NO_RETRIES = [("grpc.enable_retries", 0)]
_GIVES_UP = 120  # seconds


def main() -> None:
    """Print what was answered as an object of JSON."""
    target, token, body, *files = sys.argv[1:]
    right = [json.loads(Path(each).read_bytes()) for each in files]
    metadata = (("authorization", f"Bearer {token}"),)
    request = inference_pb2.PredictionsRequest(model_name="tiny", input={"data": body.encode()})
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    requests, longest, failures = 0, 0.0, []
    with grpc.insecure_channel(target, options=_NO_RETRIES) as channel:
        predict = channel.unary_unary(
            "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
            request_serializer=inference_pb2.PredictionsRequest.SerializeToString,
            response_deserializer=inference_pb2.PredictionResponse.FromString,
        )
        while not ended.is_set():
            begin = time.monotonic()
            try:
                answer = predict(request, metadata=metadata, timeout=_GIVES_UP)
                if json.loads(answer.prediction) not in right:
                    failures.append(answer.prediction.decode())
            except grpc.RpcError as error:
                failures.append(f"{error.code()} {error.details()}")
            requests, longest = requests + 1, max(longest, time.monotonic() - begin)
    print(json.dumps({"requests": requests, "longest": longest, "failures": failures}))


if __name__ == "__main__":
    main()
