"""The script that tries all architectures can say that one is wrong."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

import handler.engine.classifier
from documents import ROOT, table


@pytest.fixture(scope="module")
def script() -> Any:
    loader = SourceFileLoader("architectures", str(ROOT / "scripts" / "architectures"))
    spec = spec_from_loader("architectures", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros for token types are sent to models whose tokenizers give none."""
    everything = ["input_ids", "attention_mask", "token_type_ids"]
    monkeypatch.setattr(handler.engine.classifier, "inputs_of", lambda *_: everything)


def test_an_architecture_is_right(script: Any, tmp_path: Path) -> None:
    found, how = script.outcome("gpt2", tmp_path)
    assert (found, how.split(", within")[0]) == ("right", "padded, texts and pairs")


@pytest.mark.usefixtures("planted")
def test_packaging_refuses_a_planted_fault(script: Any, tmp_path: Path) -> None:
    found, why = script.outcome("gpt2", tmp_path)
    assert found == "refused"
    assert "the archive would say" in why


@pytest.mark.usefixtures("planted")
def test_a_planted_fault_is_wrong_where_packaging_does_not_see_it(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "check", lambda *_: None)
    found, how = script.outcome("gpt2", tmp_path)
    assert found == "WRONG"
    assert "probabilities differ by" in how


def test_a_crash_of_packaging_is_no_refusal(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: Any) -> None:
        raise KeyError("x")

    monkeypatch.setattr(script, "check", crash)
    assert script.outcome("gpt2", tmp_path) == ("WRONG", "no sentence but KeyError: 'x'")


def test_the_page_lists_each_architecture_once(script: Any) -> None:
    rows = table("docs/models.md", "outcome").values()
    listed = [name for row in rows for name in row[0].split(", ")]
    assert sorted(listed) == sorted(script.NAMES)
