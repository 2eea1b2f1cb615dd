"""OpenVINO without a server, a text at a time in each of its streams, for THROUGHPUT.

openvino_engine.py MODEL_DIR PRECISION JOBS.json prints one JSON object, as benchmark/engine.py does.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import openvino
from openvino_model import Compiled

model_dir, precision, jobs = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
compiled = Compiled(model_dir, precision, "THROUGHPUT")
queue = openvino.AsyncInferQueue(compiled.model)
labels: dict[int, int] = {}
queue.set_callback(
    lambda request, number: labels.update(
        {number: int(request.get_output_tensor(0).data[0].argmax())}
    )
)


def classify(inputs: list[dict]) -> None:
    for number, each in enumerate(inputs):
        queue.start_async(each, number)
    queue.wait_all()


calls = []
for job in json.loads(jobs.read_bytes()):
    inputs = [compiled.inputs(text) for text in job["texts"]]
    classify(inputs)
    seconds = []
    for _ in range(job["repeats"]):
        start = time.perf_counter()
        classify(inputs)
        seconds.append(time.perf_counter() - start)
    calls.append(
        {
            "workload": job["workload"],
            "texts": len(inputs),
            "seconds": seconds,
            "texts_per_second": len(inputs) / statistics.median(seconds),
            "labels": [labels[number] for number in range(len(inputs))],
        }
    )
print(json.dumps({"precision": f"OpenVINO {precision}", "computes_in": precision, "calls": calls}))
