from __future__ import annotations

import pytest

from benchmark.soak import Look, growth


def test_growth_is_that_of_the_settled_part() -> None:
    looks = [Look(0, 100, 0, 5)]
    looks += [Look(n * 10_000, 500 + n, 1_000 - n / 2, 7) for n in range(3, 11)]
    assert growth(looks, "front_end") == pytest.approx(10)
    assert growth(looks, "workers") == pytest.approx(-5)
    assert growth(looks, "open_files") == pytest.approx(0)
