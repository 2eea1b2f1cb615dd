from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from handler.errors import RequestError
from handler.pipeline import Pipeline
from handler.settings import Settings
from handler.text.chunks import aggregate, all_chunks
from handler.text.tokenizer import Tokenizer
from handler.values import Encoding, Prediction, Text

LONG = " ".join(f"{word} {number}" for number, word in enumerate(tiny.WORDS * 4))
SHORT = "good film"


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def reference(request: pytest.FixtureRequest) -> Any:
    return tiny.make_tokenizer(request.param, pairs=request.param == "wordpiece")


@pytest.fixture
def tokenizer(reference: Any) -> Tokenizer:
    return Tokenizer(reference, tiny.LONGEST, "chunks", stride=10)


def chunks(encoded: Encoding | RequestError) -> list[Encoding]:
    assert isinstance(encoded, Encoding)
    return all_chunks([encoded])


def test_chunks_hold_every_token_and_overlap_by_the_stride(
    tokenizer: Tokenizer, reference: Any
) -> None:
    whole = reference(LONG, add_special_tokens=False)["input_ids"]
    (encoded,) = tokenizer([Text(LONG)])
    found = [chunk.input_ids for chunk in chunks(encoded)]
    assert {len(ids) for ids in found[:-1]} == {tiny.LONGEST}
    assert len(found[-1]) <= tiny.LONGEST
    inner = [ids[1:-1] for ids in found]
    assert inner[0] + [token for ids in inner[1:] for token in ids[10:]] == whole


def test_a_text_that_fits_is_one_piece(tokenizer: Tokenizer) -> None:
    (encoded,) = tokenizer([Text(SHORT)])
    assert len(chunks(encoded)) == 1


def test_a_text_says_what_happens_to_it(tokenizer: Tokenizer) -> None:
    cut, refused, chunked = tokenizer(
        [Text(LONG, long_text="truncate"), Text(LONG, long_text="error"), Text(LONG)]
    )
    assert isinstance(cut, Encoding)
    assert (cut.truncated, len(all_chunks([cut]))) == (True, 1)
    assert isinstance(refused, RequestError)
    assert refused.code == "text_too_long"
    assert not any(chunk.truncated for chunk in chunks(chunked))


@pytest.mark.parametrize("limit", [32, 33, 45])
def test_short_chunks_overlap_by_at_most_half(reference: Any, limit: int) -> None:
    tokenizer = Tokenizer(reference, tiny.LONGEST, "chunks", stride=20)
    text = " ".join(tiny.WORDS)
    whole = reference(text, add_special_tokens=False)["input_ids"]
    (encoded,) = tokenizer([Text(text, max_length=limit)])
    found = [chunk.input_ids[1:-1] for chunk in chunks(encoded)]
    overlap = min(20, (limit - 2) // 2)
    assert found[0] + [token for ids in found[1:] for token in ids[overlap:]] == whole


def test_chunks_have_a_smallest_size(tokenizer: Tokenizer) -> None:
    error, cut, short = tokenizer(
        [
            Text(LONG, max_length=31),
            Text(LONG, max_length=5, long_text="truncate"),
            Text(SHORT, max_length=31),
        ]
    )
    assert isinstance(error, RequestError)
    assert (error.code, error.fields) == ("invalid_value", {"max_tokens": tiny.LONGEST})
    assert "32 tokens or more" in error.message
    assert isinstance(cut, Encoding)
    assert isinstance(short, Encoding)


@pytest.mark.parametrize("turned", [False, True])
def test_the_shorter_text_of_a_pair_is_in_every_chunk(
    tokenizer: Tokenizer, reference: Any, turned: bool
) -> None:
    pair = (SHORT, LONG) if turned else (LONG, SHORT)
    (encoded,) = tokenizer([Text(*pair)])
    short = reference(SHORT, add_special_tokens=False)["input_ids"]
    whole = reference(LONG, add_special_tokens=False)["input_ids"]
    size = tiny.LONGEST - 3 - len(short)
    found = [chunk.input_ids for chunk in chunks(encoded)]
    assert len(found) > 3
    longs = [ids[2 + len(short) : -1] if turned else ids[1 : -2 - len(short)] for ids in found]
    shorts = [ids[1 : 1 + len(short)] if turned else ids[-1 - len(short) : -1] for ids in found]
    assert all(ids == short for ids in shorts)
    assert all(len(ids) == size for ids in longs[:-1])
    assert longs[0] + [token for ids in longs[1:] for token in ids[10:]] == whole


def test_a_pair_of_two_long_texts_is_an_error(tokenizer: Tokenizer) -> None:
    error, neighbour = tokenizer([Text(LONG, LONG), Text(SHORT)])
    assert isinstance(error, RequestError)
    assert (error.code, error.fields["max_tokens"]) == ("text_too_long", tiny.LONGEST)
    assert isinstance(neighbour, Encoding)


def test_options_of_a_text_hold_for_its_chunks(tokenizer: Tokenizer) -> None:
    (encoded,) = tokenizer([Text(LONG, activation="none", calibrated=False)])
    assert {(each.activation, each.calibrated) for each in chunks(encoded)} == {("none", False)}


ONE = Encoding([1], [0], False)
THREE = Encoding([1], [0], False, further=(ONE, ONE))
LOGITS = torch.tensor([[1.0, 2.0], [0.0, 3.0], [6.0, 0.0], [0.0, 6.0], [9.0, 9.0]])


@pytest.mark.parametrize(("aggregation", "expected"), [("mean", [2.0, 3.0]), ("max", [6.0, 6.0])])
def test_logits_of_chunks_come_together(aggregation: str, expected: list[float]) -> None:
    logits, problems = aggregate(LOGITS, [None] * 5, [ONE, THREE, ONE], aggregation)
    assert logits.tolist() == [[1.0, 2.0], expected, [9.0, 9.0]]
    assert problems == [None] * 3


def test_a_problem_of_a_chunk_is_one_of_its_text() -> None:
    late = RequestError("overloaded", "late")
    _, problems = aggregate(LOGITS, [None, None, late, late, None], [ONE, THREE, ONE], "mean")
    assert problems == [None, late, None]


def test_a_long_text_is_the_mean_of_its_chunks(model_dir: Path) -> None:
    settings = Settings(precision="float32", long_text="chunks", stride=10)
    pipeline = Pipeline(model_dir, settings, torch.device("cpu"))
    long, short = pipeline([Text(LONG), Text(SHORT)])
    assert isinstance(long, Prediction)
    assert isinstance(short, Prediction)
    (encoded,) = pipeline.tokenizer([Text(LONG)])
    logits, _ = pipeline.classifier(chunks(encoded))
    assert long.logits == pytest.approx(logits.mean(dim=0).tolist(), abs=1e-4)
    assert (long.chunks, long.truncated) == (len(logits), False)
    assert long.tokens == sum(len(chunk.input_ids) for chunk in chunks(encoded))
    assert short.chunks == 1
