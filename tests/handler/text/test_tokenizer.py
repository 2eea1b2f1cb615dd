from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from transformers import AutoTokenizer

import tiny
from handler.errors import LoadError, RequestError
from handler.text.tokenizer import Tokenizer, load_tokenizer
from handler.values import Encoding, Text

LONG = "good film " * 100


@pytest.fixture(scope="module", params=["wordpiece", "bpe", "unigram"])
def reference(request: pytest.FixtureRequest) -> Any:
    return tiny.make_tokenizer(request.param, pairs=request.param == "wordpiece")


@pytest.fixture
def tokenizer(reference: Any) -> Tokenizer:
    return Tokenizer(reference, tiny.LONGEST)


def expected(reference: Any, text: Text, limit: int) -> Encoding:
    whole = reference(text.text, text.text_pair)["input_ids"]
    cut = reference(
        text.text, text.text_pair, truncation=True, max_length=limit, return_token_type_ids=True
    )
    reference.backend_tokenizer.no_truncation()  # which a call leaves behind
    return Encoding(cut["input_ids"], cut["token_type_ids"], truncated=len(whole) > limit)


def test_texts_and_pairs_share_a_call_and_keep_their_order(
    tokenizer: Tokenizer, reference: Any
) -> None:
    texts = [Text(text) for text in tiny.TEXTS]
    texts[1:1] = [Text(tiny.TEXTS[0], tiny.TEXTS[1]), Text("good", LONG), Text(LONG, LONG)]
    assert tokenizer(texts) == [expected(reference, text, tiny.LONGEST) for text in texts]


def test_each_text_has_its_own_limit(tokenizer: Tokenizer, reference: Any) -> None:
    texts = [Text(LONG, max_length=limit) for limit in (64, 5, 17, 5)]
    limits = [text.max_length or 0 for text in texts]
    assert tokenizer(texts) == [
        expected(reference, text, limit) for text, limit in zip(texts, limits, strict=True)
    ]


@pytest.mark.parametrize("side", ["right", "left"])
def test_it_is_cut_as_the_tokenizer_itself_cuts(
    reference: Any, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "truncation_side", side)
    tokenizer = Tokenizer(reference, tiny.LONGEST)
    words = [" ".join(tiny.WORDS[:count]) for count in (1, 2, 5, 6, 7, 20)]
    pairs = [(one, other) for one in words for other in words]
    for text, other in [*((word, None) for word in words), *pairs]:
        for limit in range(7, 24):
            (found,) = tokenizer([given := Text(text, other, max_length=limit)])
            assert found == expected(reference, given, limit)
            assert tokenizer.pieces(given)[0] == found
            assert len(tokenizer.pieces(given)[1]) == len(found.input_ids)


def test_two_long_texts_cost_no_more_than_one(reference: Any) -> None:
    """The tokenizer's own truncation makes a piece of each part of the one with each of the other."""
    tokenizer = Tokenizer(reference, tiny.LONGEST)
    tokenizer._backend = Mock(wraps=tokenizer._backend)
    given = Text(LONG, LONG)
    (encoding,) = tokenizer([given])
    assert isinstance(encoding, Encoding)
    assert encoding.truncated
    assert tokenizer.pieces(given)[0] == encoding
    tokenizer._backend.enable_truncation.assert_not_called()


def test_a_limit_leaves_no_trace_for_the_next_call(tokenizer: Tokenizer, reference: Any) -> None:
    tokenizer([Text(LONG, max_length=5)])
    assert tokenizer([Text(tiny.TEXTS[1])]) == [
        expected(reference, Text(tiny.TEXTS[1]), tiny.LONGEST)
    ]


def test_a_text_that_must_not_be_cut_is_an_error_with_the_numbers(tokenizer: Tokenizer) -> None:
    error, neighbour = tokenizer([Text(LONG, long_text="error"), Text("good")])
    assert isinstance(error, RequestError)
    assert (error.code, error.fields["max_tokens"]) == ("text_too_long", tiny.LONGEST)
    assert error.fields["tokens"] > tiny.LONGEST
    assert isinstance(neighbour, Encoding)


def test_a_text_of_just_the_longest_length_is_not_cut(tokenizer: Tokenizer) -> None:
    (whole,) = tokenizer([Text(tiny.TEXTS[1])])
    assert isinstance(whole, Encoding)
    tokens = len(whole.input_ids)
    assert tokenizer([Text(tiny.TEXTS[1], max_length=tokens, long_text="error")]) == [whole]
    (error,) = tokenizer([Text(tiny.TEXTS[1], max_length=tokens - 1, long_text="error")])
    assert isinstance(error, RequestError)
    assert error.fields == {"tokens": tokens, "max_tokens": tokens - 1}


@pytest.mark.parametrize("limit", [1, 2, tiny.LONGEST + 1, 2**31 - 1])
def test_a_limit_that_the_model_cannot_keep_is_an_error(tokenizer: Tokenizer, limit: int) -> None:
    (error,) = tokenizer([Text("good", max_length=limit)])
    assert isinstance(error, RequestError)
    assert error.code == "invalid_value"
    assert f"3 to {tiny.LONGEST} tokens" in error.message


def test_training_s_truncation_and_padding_are_not_used(tmp_path: Path) -> None:
    saved = tiny.make_tokenizer("wordpiece", pairs=True)
    saved.backend_tokenizer.enable_truncation(4)
    saved.backend_tokenizer.enable_padding(length=32)
    saved.save_pretrained(tmp_path)
    tokenizer = Tokenizer(load_tokenizer(tmp_path), tiny.LONGEST)
    (encoding,) = tokenizer([Text("good film good film")])
    assert isinstance(encoding, Encoding)
    assert len(encoding.input_ids) == 6
    assert not encoding.truncated


def test_hostile_texts_are_tokenized(tokenizer: Tokenizer, reference: Any) -> None:
    texts = [
        Text(text) for text in ("\x00", "\u202e\u200b", "[SEP] [CLS]", "ａ", "🥾" * 50, "\\ud800")
    ]
    assert tokenizer(texts) == [expected(reference, text, tiny.LONGEST) for text in texts]


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(LoadError, match="has no tokenizer"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(LoadError, match="the tokenizer cannot be loaded"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_is_only_a_vocabulary_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = Tokenizer(load_tokenizer(tmp_path), 16)
    (encoding,) = tokenizer([Text("Good film")])
    assert isinstance(encoding, Encoding)
    assert encoding.input_ids == AutoTokenizer.from_pretrained(tmp_path)("Good film")["input_ids"]
    assert encoding.input_ids == [2, 5, 6, 3]


def test_very_long_texts_are_encoded_one_after_the_other_and_alike(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [Text(text) for text in ("good " * 30, "a", "film " * 30, "the", "bad")]
    together = tokenizer(texts)
    monkeypatch.setattr("handler.text.tokenizer._CHARACTERS_AT_ONCE", 100)
    assert tokenizer(texts) == together
