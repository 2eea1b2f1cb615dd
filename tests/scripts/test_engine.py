import pytest
from transformers import BertConfig, ModernBertConfig

from benchmark.engine import RATES, count_operations, matrix_rates


def test_operations_of_a_small_model() -> None:
    config = BertConfig(hidden_size=2, intermediate_size=8, num_hidden_layers=3, num_labels=5)
    token = 2 * (4 * 2 * 2 + 2 * 2 * 8)  # query, key, value, output; and the two of the middle
    attention = 4 * 2 * (10 * 10 + 4 * 4)
    head = 2 * 2 * (2 + 5) * 2
    assert count_operations(config, [10, 4]) == 3 * (token * 14 + attention) + head


def test_a_gate_is_counted() -> None:
    config = ModernBertConfig(
        hidden_size=2, intermediate_size=8, num_hidden_layers=1, num_labels=5, num_attention_heads=1
    )
    token = 2 * (4 * 2 * 2 + 3 * 2 * 8)
    assert count_operations(config, [1]) == token + 4 * 2 + 2 * 2 * (2 + 5)


def test_every_precision_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.engine._RATE_SECONDS", 0.001)
    monkeypatch.setattr("benchmark.engine._TOKENS", 32)
    monkeypatch.setattr("benchmark.engine._LARGER", ())
    config = BertConfig(hidden_size=64, intermediate_size=128)
    rates = matrix_rates(config)
    assert set(rates) == set(RATES)
    assert all(rate > 0 for rate in rates.values())
