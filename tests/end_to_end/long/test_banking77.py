"""A real classifier, served: the probabilities of transformers' own pipeline, and its accuracy."""

from __future__ import annotations

import asyncio
import csv
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import torch
from transformers import pipeline

from bertserve import AsyncClient, AsyncGrpcClient, Prediction, TextError
from bertserve.clients.keys import bearer
from serving import PATIENCE, Served

REQUESTS_AT_ONCE = 8


@pytest.fixture(scope="module")
def rows(shared: Path) -> list[tuple[str, str]]:
    """The 3,080 test texts of banking77 with their labels."""
    with (shared / "data" / "banking77" / "test.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def reference(rows: list[tuple[str, str]], shared: Path) -> torch.Tensor:
    """Probabilities [texts, labels] of transformers' pipeline; texts of one length together, unpadded."""
    folder = shared / "models" / "banking77-minilm"
    pipe = pipeline("text-classification", model=str(folder), dtype=torch.float32, top_k=None)
    order = pipe.model.config.label2id
    by_length: dict[int, list[int]] = {}
    for index, (text, _) in enumerate(rows):
        by_length.setdefault(len(pipe.tokenizer(text)["input_ids"]), []).append(index)
    matrix = torch.empty(len(rows), len(order), dtype=torch.float64)
    for indices in by_length.values():
        answers = pipe([rows[index][0] for index in indices], batch_size=64)
        for index, answer in zip(indices, answers, strict=True):
            for item in answer:
                matrix[index, order[item["label"]]] = item["score"]
    return matrix


@pytest.mark.parametrize("size", [1, 7, 64])
def test_served_probabilities_are_those_of_transformers(
    size: int,
    served: Served,
    rows: list[tuple[str, str]],
    reference: torch.Tensor,
    record_property: Callable[[str, object], None],
) -> None:
    assert served.banking is not None
    labels = served.banking.pipeline.labels
    texts = [text for text, _ in rows]
    bodies = [{"texts": texts[start : start + size]} for start in range(0, len(texts), size)]
    with (
        httpx.Client(
            base_url=served.server.addresses.inference,
            headers=bearer(served.server.key("inference")),
            timeout=PATIENCE,
        ) as http,
        ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool,
    ):
        responses = list(
            pool.map(lambda body: http.post("/predictions/banking", json=body), bodies)
        )
    assert {response.status_code for response in responses} == {200}
    maps = [map_ for response in responses for map_ in response.json()]
    answered = torch.tensor(
        [[map_[label] for label in labels] for map_ in maps], dtype=torch.float64
    )
    assert answered.shape == (3_080, 77)
    assert (answered - reference).abs().max().item() <= 1e-5
    right = sum(next(iter(map_)) == label for map_, (_, label) in zip(maps, rows, strict=True))
    assert round(right / len(rows), 4) == 0.9338
    record_property("largest difference", (answered - reference).abs().max().item())
    record_property("accuracy", right / len(rows))


async def classify_asynchronously(
    client: AsyncClient | AsyncGrpcClient, texts: list[str]
) -> list[Prediction | TextError]:
    async with client:
        return await client.classify(texts)


def test_the_four_clients_give_the_same_while_workers_are_killed(
    served: Served, rows: list[tuple[str, str]], reference: torch.Tensor
) -> None:
    """Each client classifies all texts; the first two lose their worker on the way, once each."""
    assert served.banking is not None
    server = served.server
    http, grpc = server.addresses.inference, server.addresses.grpc_inference
    texts = [text for text, _ in rows]

    async def over_http() -> list[Prediction | TextError]:
        return await classify_asynchronously(
            AsyncClient("banking", url=http, key=server.key), texts
        )

    async def over_grpc() -> list[Prediction | TextError]:
        return await classify_asynchronously(
            AsyncGrpcClient("banking", target=grpc, key=server.key), texts
        )

    with server.client("banking") as client, server.grpc_client("banking") as grpc_client:
        answers = [
            client.classify(losing_the_workers(served, texts)),
            grpc_client.classify(losing_the_workers(served, texts)),
            asyncio.run(over_http()),
            asyncio.run(over_grpc()),
        ]
    labels = served.banking.pipeline.labels
    for results in answers:
        maps = [result.probabilities for result in results if isinstance(result, Prediction)]
        assert len(maps) == len(texts)
        values = torch.tensor(
            [[map_[label] for label in labels] for map_ in maps], dtype=torch.float64
        )
        assert (values - reference).abs().max().item() <= 1e-5
        assert [next(iter(map_)) for map_ in maps] == [
            next(iter(result.probabilities))
            for result in answers[0]
            if isinstance(result, Prediction)
        ]


def losing_the_workers(served: Served, texts: list[str]) -> Iterator[str]:
    """The texts; halfway the workers that classify them are killed, at work."""
    for number, text in enumerate(texts):
        if number == len(texts) // 2:
            for model in served.server.status()["models"]:
                for worker in model["workers"] if model["name"] == "banking" else ():
                    os.kill(worker["pid"], signal.SIGKILL)
        yield text
