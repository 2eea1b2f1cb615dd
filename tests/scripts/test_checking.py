import pytest

from benchmark.checking import offence

TRUTH = {"yes": 0.50, "perhaps": 0.49, "no": 0.01}


@pytest.mark.parametrize("answer", [{"yes": 0.51, "no": 0.49}, {"perhaps": 0.5, "yes": 0.49}])
def test_an_answer_that_is_close_enough_is_right(answer: dict[str, float]) -> None:
    assert offence(answer, TRUTH, 0.02) is None


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        ({"yes": 0.53}, "it answers yes with 0.530, right is 0.500"),
        ({"no": 0.02, "yes": 0.01}, "it answers no, right is yes"),
        ({"LABEL_0": 0.5}, "it answers LABEL_0, which is no label of the model"),
    ],
)
def test_what_is_wrong_is_said(answer: dict[str, float], wrong: str) -> None:
    assert offence(answer, TRUTH, 0.02) == wrong
