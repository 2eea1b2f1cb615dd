"""From a Hugging Face folder to a `.mar` archive; `inspection` tells what is in one.

    archive = package(Path("my-model"), name="support", version="1.0")

An archive is a zip, uncompressed, with the same bytes whenever it is built from the same inputs:

    bert_handler.py      what TorchServe imports, a copy of handler/bert_handler.py
    handler/             the handler package, byte for byte, and its kernels, compiled
    model/               config.json, *.safetensors, tokenizer, index_to_name.json, calibration.json
    model-config.yaml    workers, batching and the handler's settings
    parity.json       how far the precision moves probabilities from those of float32
    golden.json          texts and their probabilities, to prove a worker with
    SHA256SUMS           of every other file; the handler verifies it before it loads anything
    MAR-INF/MANIFEST.json
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from model_archiver.model_archiver_config import ModelArchiverConfig
from model_archiver.model_packaging_utils import ModelExportUtils

from ..errors import PackageError
from ..handler import checksums
from ..handler.probabilities import CALIBRATION_FILE
from ..handler.settings import Settings
from ..inputs import Input, Pair
from ..system import Forkserver, appearing, scratch_folder
from . import conversion, parity
from .contents import CONFIG, MANIFEST, unpacked
from .folder import (
    TOKENIZER_FILES,
    check_calibration,
    check_folder,
    classifies_pairs,
    files,
    has_tokenizer,
)
from .integrity import weight_names
from .names import check_name

HANDLER = Path(__file__).parent.parent / "handler"
DOOR = "bert_handler.py"

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold
_MODEL_FILES = ("config.json", "model*.safetensors", "model.safetensors.index.json")
_OPTIONAL_FILES = ("index_to_name.json", CALIBRATION_FILE)


# requests that share a batch, and milliseconds that the first of them waits for the others
BATCH_SIZE, MAX_BATCH_DELAY = 64, 1
# seconds after which a worker that does not answer is killed; clients wait longer, to hear of it
RESPONSE_TIMEOUT = 60
QUEUE_SIZE = 256  # requests that may wait for a version, at least
# processes that share a CPU: one reads requests and writes answers while another computes
WORKERS = 2

Report = Callable[[str], None]


def package(
    model_dir: Path,
    *,
    name: str,
    version: str,
    output: Path = Path("model_store"),
    workers: int | None = None,
    batch_size: int = BATCH_SIZE,
    max_batch_delay: int = MAX_BATCH_DELAY,
    settings: Settings | None = None,
    texts: Sequence[Input] | None = None,
    convert_weights: bool = False,
    force: bool = False,
    report: Report = lambda _: None,
) -> Path:
    """Build `output/NAME-VERSION.mar` from a Hugging Face folder, and return its path.

    workers          processes that serve the model, each with a copy of it; by default what suits this
                     machine
    batch_size       requests that TorchServe hands to a worker at once
    max_batch_delay  milliseconds that a request waits for others to share its batch
    settings         of the handler; that every text needs a second one is known from a calibration too
    texts            to show on them how far the precision moves probabilities; by default a few of ours
    convert_weights  make safetensors of weights that are there only as a pickle
    force            replace an archive of that name and version whose content differs
    report           is told of each step as it begins

    PackageError says what the folder lacks, or where the archive would not give what transformers' own
    pipeline gives. Before the archive is put in its place it is opened the way a TorchServe worker opens
    it, in a process of its own, and classifies a text.
    """
    check_name("name", name)
    check_name("version", version)
    target = output / f"{name}-{version}.mar"
    report("checking the folder")
    check_folder(model_dir, convert_weights=convert_weights)
    settings = settings or Settings()
    settings = replace(settings, pairs=settings.pairs or classifies_pairs(model_dir))
    check_calibration(model_dir, settings)
    if settings.pairs and not all(isinstance(text, Pair) for text in texts or ()):
        raise PackageError("this model classifies pairs; give texts that have a text_pair each")
    output.mkdir(parents=True, exist_ok=True)
    with scratch_folder("package") as scratch, Forkserver() as python:
        root = scratch / "archive"
        report("collecting the files")
        workers = usual_workers() if workers is None else workers
        config = model_config(workers, batch_size, max_batch_delay, settings)
        lay_out(model_dir, root, name, version, config)
        report("comparing it with transformers' own pipeline, and its precision with float32")
        _measure_precision(python, root, model_dir, texts)
        built = scratch / target.name
        report("writing the archive")
        _write_zip(root, built)
        report("opening it as a TorchServe worker does")
        with unpacked(built, "open") as folder:
            classify_as_worker(python, folder)
        _put_in_place(built, target, force=force)
    return target


def lay_out(model_dir: Path, root: Path, name: str, version: str, config: str) -> None:
    """Put all files of an archive into `root`; `config` is the text of its model-config.yaml."""
    _lay_out_model(model_dir, root / "model")
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(HANDLER, root / "handler", ignore=left_out)
    from .kernels import build  # it loads torch, which only packaging needs

    build(root / "handler" / "engine" / "kernels")
    shutil.copy(HANDLER / DOOR, root / DOOR)
    (root / CONFIG).write_text(config, encoding="utf-8")
    _write_manifest(root, name, version)
    checksums.write(root)


def _lay_out_model(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    beside = source
    if (source / conversion.ADAPTER).exists():
        conversion.merge_adapter(source, target)
        beside = source if has_tokenizer(source) else conversion.adapter_base(source)
    elif changes_weights(source):
        pickled = not any(source.glob("model*.safetensors"))
        conversion.convert_weights(source, target, pickled=pickled, prefix=_prefix(source))
    else:
        _link(files(source, _MODEL_FILES), target)
    _link(files(source, _OPTIONAL_FILES), target)
    if (beside / "tokenizer.json").exists():
        _link(files(beside, TOKENIZER_FILES), target)
    else:
        conversion.convert_tokenizer(beside, target)


def changes_weights(source: Path) -> bool:
    """Whether a folder's weights are stored in another form than they have there."""
    return not any(source.glob("model*.safetensors")) or bool(_prefix(source))


def _prefix(source: Path) -> str:
    return conversion.common_prefix(weight_names(source))


def _link(files: Iterator[Path], target: Path) -> None:
    """Put files into a folder without copying them; they are read when the zip is written."""
    for file in files:
        (target / file.name).symlink_to(file.resolve())


def model_config(workers: int, batch_size: int, max_batch_delay: int, settings: Settings) -> str:
    """The text of an archive's model-config.yaml."""
    numbers = {"workers": workers, "batch-size": batch_size, "max-batch-delay": max_batch_delay}
    for option, number in numbers.items():
        if number < 1:  # TorchServe takes 0 for "not given", and a delay of 0 for batches of two
            raise PackageError(f"--{option} is {number}; give a whole number above 0")
    return yaml.safe_dump(
        {
            "minWorkers": workers,
            "maxWorkers": workers,
            "batchSize": batch_size,
            "maxBatchDelay": max_batch_delay,
            "responseTimeout": RESPONSE_TIMEOUT,
            "startupTimeout": 300,
            "jobQueueSize": max(QUEUE_SIZE, 4 * workers * batch_size),
            "handler": settings.as_dict() or {"precision": settings.precision},
        },
        sort_keys=False,
    )


def usual_workers() -> int:
    """A worker for each GPU of this machine; on a CPU one for every core up to WORKERS."""
    import torch

    from ..handler.engine import cpu_cores

    return torch.cuda.device_count() or min(WORKERS, cpu_cores())


def _measure_precision(
    python: Forkserver, root: Path, model_dir: Path, texts: Sequence[Input] | None
) -> None:
    # the pipeline reads the folder itself, unless it is one that transformers cannot read as it is
    as_it_is = not (model_dir / conversion.ADAPTER).exists() and not _prefix(model_dir)
    reference = model_dir if as_it_is else root / "model"
    found = parity.measure_in_archive(python, root, texts or (), reference)
    if "error" in found:
        raise PackageError(f"the archive does not load: {found['error']}")
    if "differs" in found:
        raise PackageError(found["differs"])
    found["sample"] = "own" if texts else "built in"
    golden = found.pop("golden")
    (root / parity.GOLDEN).write_text(json.dumps(golden, ensure_ascii=False), encoding="utf-8")
    (root / parity.FILE_NAME).write_text(json.dumps(found), encoding="utf-8")
    checksums.write(root)


def _write_manifest(root: Path, name: str, version: str) -> None:
    manifest = json.loads(
        ModelExportUtils.generate_manifest_json(
            ModelArchiverConfig(model_name=name, handler=DOOR, version=version, config_file=CONFIG)
        )
    )
    manifest["createdOn"] = "01/01/1980 00:00:00"  # the same inputs give the same bytes
    path = root / MANIFEST
    path.parent.mkdir()
    path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _write_zip(root: Path, target: Path) -> None:
    """Zip a folder so that the bytes depend on its content alone: sorted, no times, no compression."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # Unix, wherever it is built
            entry.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)


def _put_in_place(built: Path, target: Path, *, force: bool) -> None:
    """Move the archive to its place at once, never over a different one of the same version."""
    if target.exists() and not force and checksums.sha256(built) != checksums.sha256(target):
        raise PackageError(
            f"{target} is there already with other content; give another --version, "
            "or --force to replace it"
        )
    with appearing(target) as partial:
        shutil.copyfile(built, partial)


def classify_as_worker(python: Forkserver, unpacked: Path) -> dict[str, Any]:
    """Open an unpacked archive as a TorchServe worker does, in a process of its own.

    Returns what it answered to `describe`; PackageError carries the worker's own reason.
    """
    script = Path(__file__).parent / "open_as_worker.py"
    outcome = python.outcome(script, str(unpacked), folder=unpacked)
    if "error" in outcome:
        raise PackageError(f"the archive does not load: {outcome['error']}")
    return dict(outcome["description"])
