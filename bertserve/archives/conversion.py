"""What a folder holds in another form than an archive does: pickles, prefixes, adapters, vocabularies."""

from __future__ import annotations

import json
import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import PackageError
from ..handler.errors import LoadError
from ..system import scratch_folder

ADAPTER = "adapter_config.json"
# what compiling, data parallelism and Lightning put before every name
_PREFIXES = ("_orig_mod.", "module.", "model.")
_CLOSE = 1e-3  # of logits, before and after an adapter is merged
_CAPITALS = 0.01  # share of a vocabulary's words


def common_prefix(names: list[str]) -> str:
    """The known prefix that all names of weights have, such as `module._orig_mod.`; "" where none."""
    prefix = ""
    while found := [p for p in _PREFIXES if names and all(n.startswith(prefix + p) for n in names)]:
        prefix += found[0]
    return prefix


def convert_weights(source: Path, target: Path, *, pickled: bool, prefix: str = "") -> None:
    """Load a folder's weights, without a prefix of their names, and store them as safetensors."""
    from ..handler.engine import check_weights

    transformers = _quiet_transformers()
    try:
        model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            source,
            dtype="auto",
            local_files_only=True,
            use_safetensors=not pickled,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **({"key_mapping": {f"^{re.escape(prefix)}": ""}} if prefix else {}),
        )
        check_weights(model, report)
    except Exception as error:  # transformers raises many types for a broken folder
        raise PackageError(f"the weights of {source} cannot be converted: {error}") from error
    model.save_pretrained(target, save_original_format=not prefix)  # which would put it back


def merge_adapter(source: Path, target: Path) -> None:
    """Store the model that an adapter and its base make together, and its tokenizer's files.

    PackageError where peft is missing, the base is not here, or the adapter cannot be merged.
    """
    config = _read_adapter(source)
    if find_spec("peft") is None:
        raise PackageError(
            f"{source} has an adapter ({ADAPTER}), which peft merges into the model; run pip install "
            "'bertserve[adapters]', or delete the adapter's files if the model shall go without it"
        )
    try:
        with warnings.catch_warnings():  # of peft and transformers to each other
            warnings.simplefilter("ignore")
            merged = _merged(source)
    except PackageError:
        raise
    except Exception as error:  # peft and transformers raise many types
        reason = (
            f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        )
        raise PackageError(
            f"the adapter of {source} ({config.get('peft_type')}) cannot be merged: {reason}; merge it "
            "yourself with merge_and_unload() and package what save_pretrained() writes"
        ) from error
    merged.save_pretrained(target)


def _merged(source: Path) -> Any:
    """The model that an adapter and its base make together."""
    import peft

    transformers = _quiet_transformers()
    labels = _adapter_labels(source)
    options = {"num_labels": labels} if labels and not (source / "config.json").exists() else {}
    with scratch_folder("adapter") as plain:  # transformers would put the adapter on itself
        for pattern in ("config.json", "model*.safetensors*"):
            for path in adapter_base(source).glob(pattern):
                (plain / path.name).symlink_to(path.resolve())
        model, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            plain,
            dtype="auto",
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    together = peft.PeftModel(model.eval(), peft.PeftConfig.from_pretrained(source))
    loaded = together.load_adapter(source, adapter_name="default")
    _check_adapter(source, together, report, loaded)
    return _merge(source, together)


def adapter_base(source: Path) -> Path:
    """The folder of an adapter's base: its own where the model lies beside it.

    PackageError where the adapter or its base has no weights in safetensors, or the base is not here.
    """
    config = _read_adapter(source)
    if not (source / "adapter_model.safetensors").exists():
        raise PackageError(
            f"{source} has {ADAPTER} and no adapter_model.safetensors; save the adapter again with "
            f"save_pretrained(), or delete {ADAPTER} if the model shall go without it"
        )
    base = _base_folder(source, str(config.get("base_model_name_or_path") or ""))
    if not any(base.glob("model*.safetensors")):
        raise PackageError(
            f"{base} has no model.safetensors for the adapter of {source} to be merged into; load the "
            "model there with transformers, and store it with save_pretrained()"
        )
    return base


def _base_folder(source: Path, named: str) -> Path:
    weights = [*source.glob("model*.safetensors"), *source.glob("pytorch_model*.bin")]
    if (source / "config.json").exists() and weights:
        return source
    for base in (Path(named), source / named):
        if named and (base / "config.json").exists():
            return base
    raise PackageError(
        f"{source} holds an adapter alone, and its base {named!r} is no folder here; download it and "
        f"write its path into {ADAPTER} as base_model_name_or_path"
    )


def _read_adapter(source: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((source / ADAPTER).read_bytes()))
    except (ValueError, TypeError):
        raise PackageError(
            f"{source / ADAPTER} is no JSON object; save the adapter again"
        ) from None


def _adapter_labels(source: Path) -> int:
    """Outputs of the head that is stored with an adapter, 0 where there is none."""
    from safetensors import safe_open

    with safe_open(source / "adapter_model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - it is no dict
            if name.endswith(("classifier.weight", "score.weight", "out_proj.weight")):
                return int(weights.get_slice(name).get_shape()[0])
    return 0


def _check_adapter(source: Path, together: Any, report: Any, loaded: Any) -> None:
    """PackageError where weights of the base or of the adapter are missing or are left over."""
    trained = {
        name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
        for name in together.state_dict()
        if ".modules_to_save.default" in name
    }
    lacking = sorted(
        {*report["missing_keys"], *(m[0] for m in report["mismatched_keys"])} - trained
    )
    lacking += sorted(
        key for key in loaded.missing_keys if "lora" in key or "modules_to_save" in key
    )
    if lacking or loaded.unexpected_keys:
        what = (
            f"lack {lacking[0]}" if lacking else f"hold {sorted(loaded.unexpected_keys)[0]} besides"
        )
        raise PackageError(
            f"the adapter of {source} does not fit its base: its weights {what}; take the base that it "
            "was trained on, with the head among modules_to_save"
        )


def _merge(source: Path, together: Any) -> Any:
    """The merged model, which must give what adapter and base give side by side."""
    import torch

    together = together.float().eval()
    ids = torch.arange(4, 12)[None] % together.config.get_text_config().vocab_size
    end = together.config.eos_token_id
    if isinstance(end, int):
        ids[0, -1] = end
    with torch.inference_mode():
        before = together(input_ids=ids).logits
        merged = together.merge_and_unload()
        after = merged(input_ids=ids).logits
    if not (before - after).abs().max() <= _CLOSE * max(1.0, before.abs().max().item()):
        raise PackageError(
            f"the adapter of {source} changes the model when it is merged; merge it yourself"
        )
    return merged


def convert_tokenizer(source: Path, target: Path) -> None:
    """Make a tokenizer.json of a vocabulary."""
    from ..handler.text import load_tokenizer

    if any(source.glob("*.model")) and not _has_sentencepiece():
        raise PackageError(
            f"{next(iter(source.glob('*.model')))} is read by sentencepiece, which is not installed; "
            "run pip install sentencepiece, or save the tokenizer with a tokenizer.json"
        )
    try:
        tokenizer = load_tokenizer(source)
    except LoadError as error:
        raise PackageError(str(error)) from error
    _check_case(source, tokenizer)
    tokenizer.save_pretrained(target)


def _has_sentencepiece() -> bool:
    return find_spec("sentencepiece") is not None


def _check_case(source: Path, tokenizer: Any) -> None:
    """PackageError where a vocabulary has capitals that the tokenizer takes away unasked."""
    path = source / "tokenizer_config.json"
    said = json.loads(path.read_bytes()) if path.exists() else {}
    if "do_lower_case" in said:
        return
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("A") != "a":
        return
    words = [word for word in tokenizer.get_vocab() if not word.startswith(("[", "<"))]
    capitals = sum(word != word.lower() for word in words)
    if capitals > _CAPITALS * len(words):
        raise PackageError(
            f"the vocabulary of {source} has {capitals} words with capitals, and no "
            'tokenizer_config.json says whether texts are lower-cased; write {"do_lower_case": false} '
            "or true into it"
        )


def _quiet_transformers() -> Any:
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # what it would warn of is an error here
    return transformers
