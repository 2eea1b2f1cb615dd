"""OpenVINO without a server, a text at a time in each of its streams, for THROUGHPUT.

openvino_engine.py MODEL_DIR PRECISION JOBS.json
"""

import sys
from pathlib import Path

import openvino
from measuring import Inputs, measure
from openvino_model import Compiled

precision = sys.argv[2]
compiled = Compiled(Path(sys.argv[1]), precision, "THROUGHPUT")
queue = openvino.AsyncInferQueue(compiled.model)
labels: dict[int, int] = {}
queue.set_callback(
    lambda request, number: labels.update(
        {number: int(request.get_output_tensor(0).data[0].argmax())}
    )
)


def classify(inputs: Inputs) -> list[int]:
    for number, each in enumerate(inputs):
        queue.start_async(each, number)
    queue.wait_all()
    return [labels[number] for number in range(len(inputs))]


measure(f"OpenVINO {precision}", precision, Path(sys.argv[3]), compiled.inputs, classify)
