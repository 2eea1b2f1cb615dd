import json
from pathlib import Path

import pytest

from bertserve.clients.canary import CANARIES, Canary, StoredCanary, read_canaries, store_canary
from bertserve.errors import ConfigError

TEXTS = [f"text {number}" for number in range(10_000)]


@pytest.mark.parametrize("by", ["text", "random"])
@pytest.mark.parametrize("percent", [0, 1, 10, 50, 100])
def test_a_canary_gets_its_share(by: str, percent: float) -> None:
    canary = Canary("2.0", percent, by)  # type: ignore[arg-type]
    chosen = [canary(text) for text in TEXTS]
    assert set(chosen) <= {"2.0", None}
    share = chosen.count("2.0") / len(TEXTS)
    assert share == pytest.approx(percent / 100, abs=0.02)
    if percent in (0, 100):
        assert share == percent / 100


def test_the_same_text_goes_to_the_same_version() -> None:
    first, second = Canary("2.0", 30), Canary("2.0", 30)
    assert [first(text) for text in TEXTS] == [second(text) for text in TEXTS]


def test_more_percent_take_nobody_s_canary_away() -> None:
    few, many = Canary("2.0", 10), Canary("2.0", 40)
    assert all(many(text) for text in TEXTS if few(text))


@pytest.mark.parametrize("percent", [-1, 101, float("nan")])
def test_a_share_is_a_percentage(percent: float) -> None:
    with pytest.raises(ConfigError, match="0 to 100 percent"):
        Canary("2.0", percent)


def test_a_stored_canary_is_followed_as_it_changes(tmp_path: Path) -> None:
    followed = StoredCanary(tmp_path, "a")
    assert followed("x") is None
    store_canary(tmp_path, "a", Canary("2.0", 100))
    assert followed("x") == "2.0"
    store_canary(tmp_path, "b", Canary("3.0", 100))
    assert followed("x") == "2.0"
    assert StoredCanary(tmp_path, "b")("x") == "3.0"
    store_canary(tmp_path, "a", None)
    assert followed("x") is None
    assert read_canaries(tmp_path) == {"b": Canary("3.0", 100)}


def test_a_file_that_is_no_json_is_no_canary(tmp_path: Path) -> None:
    (tmp_path / CANARIES).write_text(json.dumps({})[:1])
    assert StoredCanary(tmp_path, "a")("x") is None
