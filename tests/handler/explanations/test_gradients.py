import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from handler.explanations import gradients
from handler.explanations.gradients import Attributions, Gradients, NotOfTheModel, TooLate
from handler.text.tokenizer import Tokenizer, load_tokenizer
from handler.values import Encoding, Text

CPU = torch.device("cpu")


class Loaded:
    """What attributes the tokens of a folder's model, and the same model by transformers."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = Tokenizer(load_tokenizer(folder), tiny.LONGEST)
        self.gradients = Gradients(folder, CPU, self.tokenizer.pad_token_id)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def encode(self, text: Text) -> tuple[Encoding, list[bool]]:
        encoding, pieces = self.tokenizer.pieces(text)
        return encoding, [piece.of is None for piece in pieces]

    def attribute(self, text: Text, label: int = 0, last: float = math.inf) -> Attributions:
        return self.gradients(*self.encode(text), label, last)

    def logits(self, encoding: Encoding) -> list[float]:
        with torch.no_grad():
            inputs = {"input_ids": torch.tensor([encoding.input_ids])}
            if any(encoding.token_type_ids):
                inputs["token_type_ids"] = torch.tensor([encoding.token_type_ids])
            values: list[float] = self.model(**inputs).logits[0].tolist()
            return values


@pytest.fixture(scope="module")
def loaded(model_dir: Path) -> Loaded:
    return Loaded(model_dir)


TEXTS = [Text(tiny.TEXTS[1]), Text(tiny.TEXTS[4]), Text(tiny.TEXTS[0], tiny.TEXTS[1])]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_sum_is_the_change_of_the_logit_for_every_architecture(
    architecture: str, tmp_path: Path
) -> None:
    loaded = Loaded(tiny.make_model(tmp_path / "model", architecture))
    changes = []
    for text in TEXTS:
        encoding, is_special = loaded.encode(text)
        found = loaded.gradients(encoding, is_special, 1, math.inf)
        assert found.logit == pytest.approx(loaded.logits(encoding)[1], abs=1e-4)
        change = found.logit - found.baseline_logit
        changes.append(abs(change))
        assert sum(found.values) == pytest.approx(change, rel=0.02, abs=0.01)
        assert found.is_complete
        special = [v for v, yes in zip(found.values, is_special, strict=True) if yes]
        others = [v for v, yes in zip(found.values, is_special, strict=True) if not yes]
        assert special == [0.0] * len(special)
        assert len(special) >= 2
        assert max(map(abs, others)) > 0.01
    assert max(changes) > 0.1


def test_it_is_the_integral_of_the_gradients(loaded: Loaded) -> None:
    """Against a plain sum over the middles of 1,000 short steps."""
    encoding, is_special = loaded.encode(TEXTS[2])
    found = loaded.gradients(encoding, is_special, 2, math.inf)
    embed = loaded.model.get_input_embeddings()
    ids = torch.tensor([encoding.input_ids])
    padded = torch.where(torch.tensor(is_special), ids, loaded.tokenizer.pad_token_id)
    text, baseline = embed(ids).detach(), embed(padded).detach()
    steps = 1_000
    total = torch.zeros_like(text)
    for part in ((torch.arange(steps) + 0.5) / steps).view(10, 100):
        points = (baseline + part[:, None, None] * (text - baseline)).requires_grad_()
        types = torch.tensor([encoding.token_type_ids]).expand(len(part), -1)
        logits = loaded.model(inputs_embeds=points, token_type_ids=types).logits[:, 2]
        (gradient,) = torch.autograd.grad(logits.sum(), points)
        total += gradient.sum(dim=0)
    expected = ((text - baseline) * total / steps).sum(dim=2)[0].tolist()
    assert found.values == pytest.approx(expected, abs=1e-3)
    assert max(map(abs, expected)) > 0.05
    (baseline_logits,) = loaded.model(
        inputs_embeds=baseline, token_type_ids=torch.tensor([encoding.token_type_ids])
    ).logits.tolist()
    assert found.baseline_logit == pytest.approx(baseline_logits[2], abs=1e-5)


def test_each_label_has_its_own(loaded: Loaded) -> None:
    encoding, _ = loaded.encode(TEXTS[0])
    found = [loaded.attribute(TEXTS[0], label) for label in range(3)]
    assert [each.logit for each in found] == pytest.approx(loaded.logits(encoding), abs=1e-4)
    assert len({tuple(each.values) for each in found}) == 3


def test_a_text_of_special_tokens_alone_has_nothing_to_share_out(loaded: Loaded) -> None:
    encoding = Encoding([2, 3], [0, 0], truncated=False)
    found = loaded.gradients(encoding, [True, True], 0, math.inf)
    assert found.values == [0.0, 0.0]
    assert found.logit == pytest.approx(found.baseline_logit, abs=1e-5)
    assert found.is_complete


def test_steps_are_doubled_until_the_sum_is_right(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "STEPS", (1, 64))
    fine = loaded.attribute(TEXTS[2])
    assert fine.is_complete
    monkeypatch.setattr(gradients, "STEPS", (64,))
    assert loaded.attribute(TEXTS[2]) == fine


def test_the_gap_is_told_where_it_stays(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "STEPS", (1,))
    found = loaded.attribute(TEXTS[2])
    assert not found.is_complete
    assert found.gap == abs(sum(found.values) - (found.logit - found.baseline_logit))


def test_nothing_is_begun_after_the_last_moment(loaded: Loaded) -> None:
    with pytest.raises(TooLate):
        loaded.attribute(TEXTS[0], last=-math.inf)


def test_what_was_found_in_time_is_answered(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands still for the first steps and then is past the end."""
    monkeypatch.setattr(gradients, "STEPS", (1,))
    alone = loaded.attribute(TEXTS[2])
    assert not alone.is_complete
    monkeypatch.setattr(gradients, "STEPS", (1, 2))
    moments = iter([0.0, 0.0, 9.0])  # at the ends of the line, at the first step, at the next ones
    monkeypatch.setattr("time.monotonic", lambda: next(moments))
    found = loaded.attribute(TEXTS[2], last=1.0)
    assert found.values == pytest.approx(alone.values, abs=1e-6)


def test_memory_is_bounded(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_TOKENS_AT_ONCE", 40)
    whole = loaded.attribute(TEXTS[0])
    seen: list[int] = []
    forward = loaded.gradients._logits

    def note(types: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        seen.extend(tensor.shape[0] * tensor.shape[1] for tensor in inputs.values())
        return forward(types, **inputs)

    monkeypatch.setattr(loaded.gradients, "_logits", note)
    parts = loaded.attribute(TEXTS[0])
    assert max(seen) <= 40
    assert len(seen) > 10
    assert parts.values == pytest.approx(whole.values, abs=1e-5)


def test_a_model_that_reads_embeddings_otherwise_is_not_explained(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Loaded(model_dir)
    model = loaded.gradients._model
    forward = model.forward

    def other(inputs_embeds: torch.Tensor | None = None, **inputs: torch.Tensor) -> object:
        scaled = None if inputs_embeds is None else 1.5 * inputs_embeds
        return forward(inputs_embeds=scaled, **inputs)

    # of the class: a model is put back after each text
    monkeypatch.setattr(type(model), "forward", lambda _, **inputs: other(**inputs))
    with pytest.raises(NotOfTheModel):
        loaded.attribute(TEXTS[0])


def test_what_is_not_finite_is_no_explanation(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = Loaded(model_dir)
    model = loaded.gradients._model
    forward = model.forward

    def other(**inputs: torch.Tensor) -> object:
        output = forward(**inputs)
        output.logits = output.logits * math.nan
        return output

    # of the class: a model is put back after each text
    monkeypatch.setattr(type(model), "forward", lambda _, **inputs: other(**inputs))
    with pytest.raises(NotOfTheModel):
        loaded.attribute(TEXTS[0])
