"""A real classifier, served: the probabilities of transformers' own pipeline, and its accuracy."""

from __future__ import annotations

import asyncio
import csv
import json
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
from bertserve.archives.packaging import package
from bertserve.clients.keys import bearer
from bertserve.serving.config import read_config
from bertserve.serving.server import Server
from bertserve.serving.starting import start
from serving import PATIENCE, write_config

from ..conftest import EXACT

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


@pytest.fixture(scope="module")
def labels(shared: Path) -> list[str]:
    config = json.loads((shared / "models" / "banking77-minilm" / "config.json").read_bytes())
    return [config["id2label"][str(number)] for number in range(77)]


@pytest.fixture(scope="module")
def server(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("banking")
    model, store = shared / "models" / "banking77-minilm", folder / "model_store"
    package(model, name="banking", version="1.0", output=store, settings=EXACT)
    running = start(read_config(write_config(folder)), store)
    yield running
    running.stop()


@pytest.mark.parametrize("size", [1, 7, 64])
def test_served_probabilities_are_those_of_transformers(
    size: int,
    server: Server,
    labels: list[str],
    rows: list[tuple[str, str]],
    reference: torch.Tensor,
    record_property: Callable[[str, object], None],
) -> None:
    texts = [text for text, _ in rows]
    bodies = [{"texts": texts[start : start + size]} for start in range(0, len(texts), size)]
    with (
        httpx.Client(
            base_url=server.addresses.inference,
            headers=bearer(server.key("inference")),
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
    server: Server, labels: list[str], rows: list[tuple[str, str]], reference: torch.Tensor
) -> None:
    """Each client classifies all texts; the first two lose their worker on the way, once each."""
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
            client.classify(losing_the_workers(server, texts)),
            grpc_client.classify(losing_the_workers(server, texts)),
            asyncio.run(over_http()),
            asyncio.run(over_grpc()),
        ]
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


def losing_the_workers(server: Server, texts: list[str]) -> Iterator[str]:
    """The texts; halfway the workers that classify them are killed, at work."""
    for number, text in enumerate(texts):
        if number == len(texts) // 2:
            for model in server.status()["models"]:
                for worker in model["workers"]:
                    os.kill(worker["pid"], signal.SIGKILL)
        yield text
