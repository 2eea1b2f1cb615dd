import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import STATUS_OF, RequestError
from handler.settings import Settings
from handler.values import Decision, Prediction, Text
from handler.wire import native
from handler.wire.body import decode
from handler.wire.json_writer import to_json
from handler.wire.native import NativeRequest
from handler.wire.rows import Body

SETTINGS = Settings(max_texts=3, max_characters=300_000)
DESCRIPTION = {"model": "support", "version": "1.0", "labels": ["c", "a", "b"]}
PREDICTION = Prediction(
    probabilities={"a": 0.7, "b": 0.2, "c": 0.1},
    logits=[1.0, 3.0, 2.0],
    tokens=5,
    truncated=False,
    confidence=0.7,
    entropy=0.73,
    decision=Decision("a", 0.5),
)
ERROR = RequestError("empty_text", "the text is empty")


def read(value: Any, media_type: str = "application/json") -> NativeRequest:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return native.read(decode(Body(content, media_type), SETTINGS.max_depth), SETTINGS)


def refused(value: Any, media_type: str = "application/json") -> RequestError:
    with pytest.raises(RequestError) as raised:
        read(value, media_type)
    return raised.value


class TestRead:
    def test_plain_text_is_the_text_itself(self) -> None:
        text = ' {"text": "no JSON here"}\n'
        assert read(text.encode(), "text/plain") == NativeRequest((Text(text),), single=True)

    def test_an_object_with_one_text(self) -> None:
        request = read(
            {"text": "a", "text_pair": "b", "top_k": 2, "max_length": 9, "truncate": False}
        )
        assert request == NativeRequest((Text("a", "b", 9, "error"),), single=True, top_k=2)

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({}, None),
            ({"truncate": True}, "truncate"),
            ({"truncate": None, "long_text": "chunks"}, "chunks"),
            ({"long_text": "error"}, "error"),
        ],
    )
    def test_what_happens_to_a_long_text(self, options: dict[str, Any], expected: str) -> None:
        assert read({"text": "a", **options}).texts == (Text("a", long_text=expected),)

    def test_a_request_for_the_model_s_own_probabilities(self) -> None:
        assert read({"texts": ["a"], "calibrated": False}).texts == (Text("a", calibrated=False),)

    def test_an_object_with_several_texts(self) -> None:
        request = read(
            {"texts": ["a", {"text": "b"}, {"text": "c", "text_pair": "d"}], "details": True}
        )
        texts = (Text("a"), Text("b"), Text("c", "d"))
        assert request == NativeRequest(texts, single=False, details=True)

    def test_null_is_the_same_as_leaving_it_out(self) -> None:
        nothing = dict.fromkeys(
            ["text_pair", "texts", "top_k", "max_length", "truncate", "details"]
        )
        assert read({"text": "a", **nothing}) == read({"text": "a"})

    @pytest.mark.parametrize("media_type", ["", "application/octet-stream"])
    def test_a_body_without_a_type_is_json_if_it_begins_like_an_object(
        self, media_type: str
    ) -> None:
        assert read(b' {"text": "a"}', media_type) == read({"text": "a"})
        assert read(b"[not json]", media_type).texts == (Text("[not json]"),)

    def test_a_json_dialect_is_json(self) -> None:
        assert read({"text": "a"}, "application/vnd.api+json").texts == (Text("a"),)

    def test_a_byte_order_mark_is_no_part_of_the_text(self) -> None:
        assert read("\ufeffa".encode(), "text/plain").texts == (Text("a"),)
        assert read('\ufeff{"text": "a"}'.encode()).texts == (Text("a"),)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", "invalid_json"),
            (b"{", "invalid_json"),
            (b'{"text": "a"} trailing', "invalid_json"),
            (b'{"text": "a", "top_k": NaN}', "invalid_json"),
            (b'{"text": "a", "top_k": -Infinity}', "invalid_json"),
            (b'{"text": "a", "top_k": ' + b"9" * 5_000 + b"}", "invalid_json"),
            (b'{"text": "a\xff"}', "invalid_utf8"),
            ('{"text": "a"}'.encode("utf-16"), "invalid_utf8"),
            (b'{"texts": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
            (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep"),
            ([], "invalid_type"),
            ("text", "invalid_type"),
            (None, "invalid_type"),
            (7, "invalid_type"),
            ({}, "missing_text"),
            ({"text": None}, "missing_text"),
            ({"text_pair": "b"}, "missing_text"),
            ({"texts": []}, "missing_text"),
            ({"text": ""}, "empty_text"),
            ({"text": " \n\t\u00a0"}, "empty_text"),
            ({"text": "a", "text_pair": ""}, "empty_text"),
            ({"text": 7}, "invalid_type"),
            ({"text": ["a"]}, "invalid_type"),
            ({"text": "a", "text_pair": 7}, "invalid_type"),
            ({"texts": "a"}, "invalid_type"),
            ({"texts": {"text": "a"}}, "invalid_type"),
            ({"text": "\ud800"}, "invalid_text"),
            ({"text": "a", "top_k": 0}, "invalid_value"),
            ({"text": "a", "top_k": 10**300}, "invalid_value"),
            ({"text": "a", "top_k": 1.5}, "invalid_type"),
            ({"text": "a", "top_k": "1"}, "invalid_type"),
            ({"text": "a", "top_k": True}, "invalid_type"),
            (b'{"text": "a", "top_k": 1e999}', "invalid_type"),
            ({"text": "a", "max_length": -5}, "invalid_value"),
            ({"text": "a", "truncate": "no"}, "invalid_type"),
            ({"text": "a", "long_text": "cut"}, "invalid_value"),
            ({"text": "a", "long_text": True}, "invalid_type"),
            ({"text": "a", "long_text": "error", "truncate": False}, "conflicting_keys"),
            ({"text": "a", "calibrated": "no"}, "invalid_type"),
            ({"text": "a", "details": 1}, "invalid_type"),
            ({"text": "a", "Text": "b"}, "unknown_key"),
            ({"text": "a", "\ud800": "b"}, "unknown_key"),
            ({"text": "a", "texts": ["b"]}, "conflicting_keys"),
            ({"text_pair": "a", "texts": ["b"]}, "conflicting_keys"),
            ({"texts": ["a"] * 4}, "too_many_texts"),
            ({"text": "a" * 300_001}, "text_too_long"),
            ({"text": "a", "text_pair": "a" * 300_001}, "text_too_long"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_as_a_whole_is_refused(self, body: Any, code: str) -> None:
        error = refused(body)
        assert error.code == code
        assert error.status in (400, 413, 415, 422)
        assert len(error.message) < 300
        json.dumps(error.as_json()).encode("ascii")

    @pytest.mark.parametrize(
        "media_type", ["text/html", "application/xml", "image/png", "x" * 9999]
    )
    def test_other_media_types_are_refused(self, media_type: str) -> None:
        error = refused(b"<a/>", media_type)
        assert (error.code, error.status) == ("unsupported_media_type", 415)
        assert len(error.message) < 300

    def test_empty_plain_text_is_refused(self) -> None:
        assert refused(b" \n", "text/plain").code == "empty_text"
        assert refused(b"", "").code == "empty_text"

    def test_an_error_names_the_limit(self) -> None:
        assert refused({"texts": ["a"] * 4}).fields == {"texts": 4, "max_texts": 3}

    def test_an_unknown_key_is_named_but_not_at_length(self) -> None:
        assert (
            "unknown key 'Text'; known are calibrated, details"
            in refused({"text": "a", "Text": ""}).message
        )
        assert "k" * 41 not in refused({"text": "a", "k" * 1000: ""}).message

    @pytest.mark.parametrize(
        ("item", "code"),
        [
            (7, "invalid_type"),
            (None, "invalid_type"),
            (["b"], "invalid_type"),
            ("", "empty_text"),
            ({"text": ""}, "empty_text"),
            ({}, "missing_text"),
            ({"text_pair": "b"}, "missing_text"),
            ({"text": "b", "top_k": 1}, "unknown_key"),
            ("\udfff", "invalid_text"),
        ],
    )
    def test_a_text_that_is_wrong_leaves_its_neighbours_alone(self, item: Any, code: str) -> None:
        first, wrong, last = read({"texts": ["a", item, "c"]}).texts
        assert (first, last) == (Text("a"), Text("c"))
        assert isinstance(wrong, RequestError)
        assert wrong.code == code

    @given(st.binary(max_size=200), st.sampled_from(["", "text/plain", "application/json"]))
    def test_any_bytes_are_a_request_or_an_error(self, content: bytes, media_type: str) -> None:
        try:
            assert read(content, media_type).texts
        except RequestError as error:
            assert error.code in STATUS_OF

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(sorted(native._KEYS)) | st.text(), inner, max_size=4
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json_is_a_request_or_an_error(self, value: Any) -> None:
        try:
            assert read(value).texts
        except RequestError as error:
            assert error.code in STATUS_OF
            json.dumps(error.as_json()).encode("ascii")


class TestWrite:
    def write(self, outcomes: list[Prediction | RequestError], **options: Any) -> tuple[int, Any]:
        texts = tuple(Text("a") for _ in outcomes)
        request = NativeRequest(texts, **{"single": False, **options})
        return request.answer(outcomes, DESCRIPTION)

    def test_one_text_is_answered_by_a_map(self) -> None:
        assert self.write([PREDICTION], single=True) == (200, {"a": 0.7, "b": 0.2, "c": 0.1})

    def test_several_texts_are_answered_by_a_list(self) -> None:
        status, value = self.write([PREDICTION])
        assert (status, value) == (200, [{"a": 0.7, "b": 0.2, "c": 0.1}])

    def test_the_map_is_written_by_falling_probability(self) -> None:
        assert list(self.write([PREDICTION], single=True)[1]) == ["a", "b", "c"]

    @pytest.mark.parametrize("top_k", [1, 2, 3, 99, 2**31 - 1])
    def test_top_k_keeps_the_most_probable(self, top_k: int) -> None:
        _, value = self.write([PREDICTION], single=True, top_k=top_k)
        assert list(value) == ["a", "b", "c"][:top_k]

    def test_details_name_the_model_and_what_it_saw(self) -> None:
        _, value = self.write([PREDICTION], single=True, details=True, top_k=2)
        assert value == {
            "model": "support",
            "version": "1.0",
            "label": "a",
            "margin": 0.5,
            "probability": 0.7,
            "probabilities": {"a": 0.7, "b": 0.2},
            "calibrated": False,
            "entropy": 0.73,
            "tokens": 5,
            "truncated": False,
            "chunks": 1,
            "logits": {"a": 3.0, "b": 2.0},
        }

    def test_details_say_what_was_decided(self) -> None:
        decision = Decision(None, 0.1, labels=["b"], chosen=["a", "b"], coverage=0.9)
        unsure = replace(PREDICTION, decision=decision)
        _, value = self.write([unsure], single=True, details=True)
        assert (value["label"], value["probability"]) == (None, 0.7)
        assert (value["labels"], value["set"], value["set_coverage"]) == (["b"], ["a", "b"], 0.9)

    def test_one_text_s_error_is_the_answer(self) -> None:
        status, value = self.write([ERROR], single=True)
        assert status == 422
        assert value == {"error": {"code": "empty_text", "message": "the text is empty"}}

    def test_an_error_among_several_stands_in_its_place(self) -> None:
        status, value = self.write([PREDICTION, ERROR])
        assert status == 200
        assert value[0]["a"] == 0.7
        assert value[1]["error"] == {
            "code": "empty_text",
            "message": "the text is empty",
            "index": 1,
        }

    def test_where_no_text_succeeds_the_first_error_s_status_is_sent(self) -> None:
        too_long = RequestError("text_too_long", "too long", tokens=9, max_tokens=8)
        status, value = self.write([too_long, ERROR])
        assert status == 413
        assert [item["error"]["code"] for item in value] == ["text_too_long", "empty_text"]


def test_a_probability_survives_json_to_the_last_bit() -> None:
    prediction = Prediction(
        {"a": math.nextafter(0.7, 1), "b": 5e-39},
        [1.0, 0.0],
        1,
        False,
        0.7,
        0.9,
        Decision("a", 0.7),
    )
    _, value = NativeRequest((Text("a"),), single=True).answer([prediction], DESCRIPTION)
    assert json.loads(to_json(value)) == prediction.probabilities
