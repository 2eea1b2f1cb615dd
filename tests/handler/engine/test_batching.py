from hypothesis import given
from hypothesis import strategies as st

from handler.engine.batching import micro_batches


def test_neighbours_in_length_share_a_micro_batch() -> None:
    assert micro_batches([5, 50, 6, 49, 7], token_budget=100) == [[4, 2, 0], [1, 3]]


def test_a_text_longer_than_the_budget_is_alone() -> None:
    assert micro_batches([10, 200, 10], token_budget=100) == [[0, 2], [1]]


def test_nothing_makes_no_micro_batch() -> None:
    assert micro_batches([], token_budget=100) == []


@given(
    lengths=st.lists(st.integers(1, 600), max_size=200),
    budget=st.integers(1, 5_000),
)
def test_every_text_is_in_one_micro_batch_within_the_budget(
    lengths: list[int], budget: int
) -> None:
    batches = micro_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget
    flat = [lengths[index] for batch in batches[::-1] for index in batch]
    assert flat == sorted(flat, reverse=True)
