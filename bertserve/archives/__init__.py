"""From a Hugging Face folder to a `.mar` archive, and what is in one.

packaging        a folder becomes an archive
folder           what a folder must hold: its labels, its calibration
integrity        files that are not what they should be
conversion       what a folder holds in another form: pickles, prefixes, adapters, vocabularies
kernels          the handler's kernels, compiled
parity           how far an archive is from transformers' own pipeline, and its precision from float32
reference        what transformers' own pipeline says
open_as_worker   an archive opened as TorchServe's workers open it
names            names and versions of models
contents         what is in an archive, read within bounds
inspection       what an archive holds, told
fetching         an archive fetched from storage, its SHA-256 checked
"""

from .contents import read_manifest, unpacked
from .fetching import fetch
from .folder import FITTED_WITH, check_folder, classifies_pairs, read_labels, weights_digest
from .inspection import golden, inspect
from .names import check_name
from .packaging import (
    BATCH_SIZE,
    MAX_BATCH_DELAY,
    lay_out,
    model_config,
    package,
    usual_workers,
)

__all__ = [
    "BATCH_SIZE",
    "FITTED_WITH",
    "MAX_BATCH_DELAY",
    "check_folder",
    "check_name",
    "classifies_pairs",
    "fetch",
    "golden",
    "inspect",
    "lay_out",
    "model_config",
    "package",
    "read_labels",
    "read_manifest",
    "unpacked",
    "usual_workers",
    "weights_digest",
]
