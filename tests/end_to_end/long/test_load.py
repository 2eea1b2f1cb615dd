"""Many requests at once: every good one right, every bad one its own error, no worker harmed."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import tiny
from bertserve.clients.keys import bearer
from bertserve.handler.values import Prediction, Text
from serving import PATIENCE, Served

REQUESTS = 2_000
CONNECTIONS = 32
BROKEN = 0.2

JSON = "application/json"
PLAIN = "text/plain"


@dataclass(frozen=True)
class Case:
    """A body, and what it must be answered with."""

    body: bytes
    media_type: str
    status: int
    answer: Any  # the JSON value, or the error's code

    def is_answered_by(self, response: httpx.Response) -> bool:
        value = response.json()
        if self.status == 200:
            return response.status_code == 200 and value == self.answer
        return (response.status_code, value["error"]["code"]) == (self.status, self.answer)


def bad(status: int, code: str, body: bytes, media_type: str = JSON) -> Case:
    return Case(body, media_type, status, code)


BAD = [
    bad(400, "invalid_json", b"this is not JSON"),
    bad(400, "invalid_json", b'{"text": "cut off'),
    bad(400, "invalid_json", b""),
    bad(400, "invalid_json", b'{"text": "a", "top_k": NaN}'),
    bad(400, "invalid_json", b'{"text": "a", "top_k": ' + b"9" * 5_000 + b"}"),
    bad(400, "invalid_utf8", b'{"text": "\xff\xfe"}'),
    bad(400, "invalid_utf8", b"\xff\xfe", PLAIN),
    bad(422, "too_deep", b'{"text": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    bad(413, "too_many_texts", json.dumps({"texts": ["a"] * 129}).encode()),
    bad(413, "text_too_long", json.dumps({"text": "good " * 99, "truncate": False}).encode()),
    bad(415, "unsupported_media_type", b"<text>a</text>", "application/xml"),
    bad(415, "unsupported_media_type", b"text=a", "application/x-www-form-urlencoded"),
    bad(422, "unknown_key", b'{"text": "a", "temperature": 1}'),
    bad(422, "conflicting_keys", b'{"text": "a", "texts": ["a"]}'),
    bad(422, "invalid_type", b'{"text": ["a"]}'),
    bad(422, "invalid_type", b'{"texts": "a"}'),
    bad(422, "invalid_type", b'{"text": "a", "top_k": 1e999}'),
    bad(422, "too_deep", b"[" * 30 + b"]" * 30),
    bad(422, "invalid_value", b'{"text": "a", "max_length": 100000000000000000000}'),
    bad(422, "invalid_value", b'{"text": "a", "max_length": 65}'),
    bad(422, "invalid_value", b'{"text": "a", "top_k": -1}'),
    bad(422, "invalid_text", b'{"text": "\\ud83e"}'),
    bad(422, "missing_text", b"{}"),
    bad(422, "missing_text", b'{"texts": []}'),
    bad(422, "empty_text", b'{"text": " "}'),
    bad(422, "empty_text", b" \n", PLAIN),
]  # fmt: skip


def good_cases(served: Served, count: int, chance: random.Random) -> list[Case]:
    """Requests of every form, and the maps that this process computes for them."""
    cases = []
    for _ in range(count):
        texts = [
            Text(" ".join(chance.choices(tiny.WORDS, k=chance.randint(1, 40))))
            for _ in range(chance.choice([1, 1, 1, 3, 8]))
        ]
        maps = [
            pytest.approx(result.probabilities, abs=1e-5)
            for result in served.tiny.pipeline(texts)
            if isinstance(result, Prediction)
        ]
        assert len(maps) == len(texts)
        if len(texts) > 1:
            body = json.dumps({"texts": [text.text for text in texts]}).encode()
            cases.append(Case(body, JSON, 200, maps))
        elif chance.random() < 0.5:
            cases.append(Case(texts[0].text.encode(), PLAIN, 200, maps[0]))
        else:
            cases.append(Case(json.dumps({"text": texts[0].text}).encode(), JSON, 200, maps[0]))
    return cases


def test_broken_requests_among_good_ones_harm_nobody(served: Served) -> None:
    chance = random.Random(11)
    broken = round(REQUESTS * BROKEN)
    cases = good_cases(served, REQUESTS - broken, chance)
    cases += [BAD[index % len(BAD)] for index in range(broken)]
    chance.shuffle(cases)
    workers = served.worker_pids()
    with (
        httpx.Client(
            base_url=served.server.addresses.inference,
            headers=bearer(served.server.key("inference")),
            limits=httpx.Limits(max_connections=CONNECTIONS),
            timeout=PATIENCE,
        ) as http,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        responses = list(
            pool.map(
                lambda case: http.post(
                    "/predictions/tiny",
                    content=case.body,
                    headers={"Content-Type": case.media_type},
                ),
                cases,
            )
        )
    wrong = [
        (case, response.status_code, response.text[:200])
        for case, response in zip(cases, responses, strict=True)
        if not case.is_answered_by(response)
    ]
    assert wrong == []
    assert served.worker_pids() == workers
