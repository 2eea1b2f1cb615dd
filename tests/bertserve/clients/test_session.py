"""What clients do when a server does not answer at once, with a transport that plays one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bertserve.clients.concurrency import Blocking, finish
from bertserve.clients.keys import Kind
from bertserve.clients.operations import Operation, Predict
from bertserve.clients.results import Word
from bertserve.clients.session import Session
from bertserve.errors import (
    ClientError,
    KeyRefused,
    ModelNotFound,
    ServerError,
    TextError,
    TimedOut,
    TooLarge,
    Unavailable,
    WorkerDied,
)
from bertserve.inputs import Pair

ANSWER = b'{"a": 0.75, "b": 0.25}'


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("bertserve.clients.session.time.monotonic", lambda: clock.now)
    return clock


class Script:
    """A transport that gives its answers one after the other, the last one again and again."""

    def __init__(self, *answers: bytes | ClientError | Callable[[Operation], bytes]) -> None:
        self.answers = list(answers)
        self.sent: list[tuple[Operation, str | None]] = []

    async def send(self, operation: Operation, key: str | None, timeout: float) -> bytes:
        assert 1 <= timeout <= 7
        self.sent.append((operation, key))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, ClientError):
            raise answer
        return answer(operation) if callable(answer) else answer

    async def close(self) -> None:
        """Nothing is open."""


def talk(script: Script, clock: Clock, *keys: str, deadline: float = 60) -> Session:
    given = iter(keys or ("key",))
    last: list[str] = []

    def read_key(kind: Kind, refused: str | None) -> str:
        assert kind == "inference"
        assert refused == (last[0] if last else None)
        last[:] = [next(given, last[0] if last else "key")]
        return last[0]

    mode = Blocking(in_flight=1)
    mode.sleep = clock.sleep  # type: ignore[method-assign]
    return Session(script, mode, read_key, timeout=7, deadline=deadline)


def classify(session: Session) -> Any:
    return finish(session.classify("m", None, "text", {})).probabilities


def test_what_is_unavailable_is_asked_again_after_longer_and_longer_pauses(clock: Clock) -> None:
    script = Script(*[Unavailable("no worker")] * 9, ANSWER)
    assert classify(talk(script, clock)) == {"a": 0.75, "b": 0.25}
    assert len(script.sent) == 10
    limits = [min(5, 0.1 * 2**attempt) for attempt in range(9)]
    assert all(
        limit / 2 <= pause <= limit for pause, limit in zip(clock.pauses, limits, strict=True)
    )


def test_pauses_differ_so_that_clients_do_not_return_at_once(clock: Clock) -> None:
    for _ in range(20):
        classify(talk(Script(Unavailable("no worker"), ANSWER), clock))
    assert len(set(clock.pauses)) > 10


def test_a_server_that_names_a_pause_gets_it(clock: Clock) -> None:
    script = Script(Unavailable("too many", retry_after=3), ANSWER)
    assert classify(talk(script, clock)) == {"a": 0.75, "b": 0.25}
    assert 3 < clock.now < 4
    with pytest.raises(Unavailable, match="too many"):
        classify(talk(Script(Unavailable("too many", retry_after=61)), clock))


def test_the_deadline_ends_it(clock: Clock) -> None:
    script = Script(Unavailable("no worker"))
    with pytest.raises(Unavailable, match="no worker"):
        classify(talk(script, clock, deadline=10))
    assert 5 < clock.now <= 10
    with pytest.raises(Unavailable):
        classify(talk(Script(Unavailable("x")), clock, deadline=0))


@pytest.mark.parametrize("error", [TimedOut("x"), ModelNotFound("x"), ClientError("x")])
def test_what_another_try_does_not_mend_is_raised_at_once(clock: Clock, error: ClientError) -> None:
    script = Script(error, ANSWER)
    with pytest.raises(type(error)):
        classify(talk(script, clock))
    assert len(script.sent) == 1


def test_a_worker_that_dies_of_a_request_is_not_killed_again_and_again(clock: Clock) -> None:
    script = Script(WorkerDied("died"))
    with pytest.raises(WorkerDied):
        classify(talk(script, clock, deadline=1_000))
    assert len(script.sent) == 3
    assert classify(talk(Script(*[WorkerDied("died")] * 2, ANSWER), clock))


class TestKeys:
    def test_a_key_is_read_once(self, clock: Clock) -> None:
        script = Script(ANSWER)
        session = talk(script, clock, "first", "second")
        classify(session)
        classify(session)
        assert [key for _, key in script.sent] == ["first", "first"]

    def test_a_key_that_was_refused_is_read_again(self, clock: Clock) -> None:
        script = Script(KeyRefused("old"), ANSWER)
        session = talk(script, clock, "first", "second")
        classify(session)
        classify(session)
        assert [key for _, key in script.sent] == ["first", "second", "second"]

    def test_keys_that_are_refused_one_after_the_other_come_to_an_end(self, clock: Clock) -> None:
        script = Script(KeyRefused("wrong"))
        with pytest.raises(KeyRefused):
            classify(talk(script, clock, *"abcdefgh"))
        assert [key for _, key in script.sent] == ["a", "b", "c"]

    def test_a_file_that_is_away_while_the_server_is_comes_back(self, clock: Clock) -> None:
        script = Script(ANSWER, KeyRefused("old"), ANSWER)
        session = talk(script, clock, "first")
        classify(session)
        reads: Iterator[str | ServerError] = iter(
            [ServerError("away"), ServerError("away"), "second"]
        )

        def read_key(_: Kind, refused: str | None) -> str:
            assert refused == "first"
            key = next(reads)
            if isinstance(key, ServerError):
                raise key
            return key

        session.read_key = read_key
        classify(session)
        assert [key for _, key in script.sent] == ["first", "first", "second"]

    def test_a_key_that_another_request_took_meanwhile_is_not_the_refused_one(
        self, clock: Clock
    ) -> None:
        script = Script(ANSWER)
        session = talk(script, clock, "first", "second")

        def overtaken(_: Operation) -> bytes:
            script.answers = [KeyRefused("old"), ANSWER]
            classify(session)  # gets the new key
            raise KeyRefused("old")

        script.answers = [overtaken]
        classify(session)
        assert [key for _, key in script.sent] == ["first", "first", "second", "second"]

    def test_a_key_that_a_proxy_refused_is_not_taken_for_one_that_the_server_refused(
        self, clock: Clock
    ) -> None:
        told: list[str | None] = []

        def read_key(_: Kind, refused: str | None) -> str:
            told.append(refused)
            return "key"

        session = talk(Script(KeyRefused("wrong", by_proxy=True)), clock)
        session.read_key = read_key
        with pytest.raises(KeyRefused):
            classify(session)
        assert told == [None, None]

    def test_the_same_key_is_not_shown_again(self, clock: Clock) -> None:
        script = Script(KeyRefused("wrong"))
        with pytest.raises(KeyRefused):
            classify(talk(script, clock, "only"))
        assert len(script.sent) == 1


class TestBatches:
    def classify(self, session: Session, *texts: str) -> Any:
        return finish(session.classify_batch("m", "1.0", texts, {"top_k": 1}))

    def test_a_request_that_is_too_large_is_split_and_stays_in_order(self, clock: Clock) -> None:
        def answer(operation: Operation) -> bytes:
            assert isinstance(operation, Predict)
            body = json.loads(operation.body)
            assert body["top_k"] == 1
            texts = [item["text"] for item in body["texts"]]
            if len("".join(texts)) > 3:
                raise TooLarge("too large")
            return json.dumps([{text: 1.0} for text in texts]).encode()

        results = self.classify(talk(Script(answer), clock), "a", "b", "cccc", "d", "e")
        labels = [getattr(result, "label", None) for result in results]
        assert labels == ["a", "b", None, "d", "e"]
        assert results[2].code == "too_large"

    @pytest.mark.parametrize("code", ["too_many_texts", "answer_too_large"])
    def test_a_model_that_takes_fewer_texts_gets_fewer(self, clock: Clock, code: str) -> None:
        def answer(operation: Operation) -> bytes:
            assert isinstance(operation, Predict)
            texts = json.loads(operation.body)["texts"]
            if len(texts) > 2:
                return f'{{"error": {{"code": "{code}", "message": "m", "max": 2}}}}'.encode()
            return json.dumps([{"a": 1.0}] * len(texts)).encode()

        assert len(self.classify(talk(Script(answer), clock), *"abcdefg")) == 7

    def test_a_text_whose_answer_alone_is_too_large_is_an_error_of_its_own(
        self, clock: Clock
    ) -> None:
        refusal = b'{"error": {"code": "answer_too_large", "message": "m", "max_bytes": 7}}'
        (result,) = self.classify(talk(Script(refusal), clock), "a")
        assert result == TooLarge("m", "answer_too_large", max_bytes=7)

    def test_texts_that_were_not_reached_are_sent_again(self, clock: Clock) -> None:
        late = {"error": {"code": "overloaded", "message": "m", "index": 1}}
        first = json.dumps([{"a": 1.0}, late, late]).encode()
        script = Script(first, b'[{"b": 1.0}, {"c": 1.0}]')
        results = self.classify(talk(script, clock), "a", "b", "c")
        assert [result.label for result in results] == ["a", "b", "c"]
        assert isinstance(script.sent[1][0], Predict)
        assert [item["text"] for item in json.loads(script.sent[1][0].body)["texts"]] == ["b", "c"]

    def test_an_error_of_the_whole_request_is_raised(self, clock: Clock) -> None:
        script = Script(b'{"error": {"code": "invalid_value", "message": "m"}}')
        with pytest.raises(TextError, match="m"):
            self.classify(talk(script, clock), "a", "b")

    @pytest.mark.parametrize("answer", [b"", b"<html>", b"7", b'"x"', b'{"a": 0.5}', b"[0.5]"])
    def test_an_answer_that_is_none_of_ours(self, clock: Clock, answer: bytes) -> None:
        with pytest.raises(ClientError, match="not one of this protocol"):
            self.classify(talk(Script(answer), clock), "a")

    def test_too_few_answers_are_none(self, clock: Clock) -> None:
        with pytest.raises(ClientError, match="not one of this protocol"):
            self.classify(talk(Script(b'[{"a": 1.0}]'), clock), "a", "b")


def test_a_blocking_client_never_awaits() -> None:
    import asyncio

    with pytest.raises(RuntimeError, match="blocking client"):
        finish(asyncio.sleep(0))


EXPLANATION = {
    "model": "m", "version": "1.0", "label": "a", "probability": 0.75, "logit": 2.0,
    "baseline_logit": 0.5, "completeness_gap": 0.0, "tokens": 3, "truncated": False,
    "words": [{"word": "text", "start": 0, "end": 4, "attribution": 1.5}], "later": 7,
}  # fmt: skip


def explain(session: Session, text: Any = "text", label: str | None = None, **others: Any) -> Any:
    limits: Any = {"max_length": 9, **others}
    return finish(session.explain("m", None, text, label, limits))


def test_an_explanation_is_a_prediction_that_asks_for_more(clock: Clock) -> None:
    script = Script(json.dumps(EXPLANATION).encode())
    found = explain(talk(script, clock), Pair("a", "b"), "x")
    assert (found.label, found.tokens, found.words) == ("a", 3, (Word("text", 0, 4, 1.5),))
    ((operation, _),) = script.sent
    assert isinstance(operation, Predict)
    assert json.loads(operation.body) == {
        "text": "a", "text_pair": "b", "label": "x", "explain": True, "max_length": 9,
    }  # fmt: skip


def test_a_server_that_has_explained_enough_is_asked_again(clock: Clock) -> None:
    script = Script(*[Unavailable("their share")] * 3, json.dumps(EXPLANATION).encode())
    assert explain(talk(script, clock)).probability == 0.75
    assert len(clock.pauses) == 3


def test_an_explanation_that_is_refused_raises_its_error(clock: Clock) -> None:
    error = {"error": {"code": "explanations_unsupported", "message": "no captum"}}
    with pytest.raises(TextError, match="no captum") as raised:
        explain(talk(Script(json.dumps(error).encode()), clock))
    assert raised.value.code == "explanations_unsupported"


def test_a_handler_that_knows_no_explanations_is_named_as_the_cause(clock: Clock) -> None:
    error = {"error": {"code": "unknown_key", "message": "unknown key 'explain'; known are text"}}
    session = talk(Script(json.dumps(error).encode()), clock)
    with pytest.raises(TextError, match="packaged before there were explanations") as raised:
        explain(session)
    assert raised.value.code == "explanations_unsupported"
    with pytest.raises(TextError) as raised:
        explain(session, top_k=2)  # which no explanation has
    assert raised.value.code == "unknown_key"


@pytest.mark.parametrize(
    "answer", [ANSWER, b"[]", b'{"words": 7}', json.dumps({**EXPLANATION, "words": [{}]}).encode()]
)
def test_what_is_no_explanation_is_said(clock: Clock, answer: bytes) -> None:
    with pytest.raises(ClientError, match="not one of this protocol"):
        explain(talk(Script(answer), clock))
