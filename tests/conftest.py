"""How the tests run, and where they begin; what they share is in shared_fixtures.py."""

from __future__ import annotations

import os
import signal

# what is run writes bytecode, and keeps its output for a while, as it does elsewhere
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ.pop("PYTHONUNBUFFERED", None)
# threads that wait for each other sleep: several processes share the cores, and one that spins keeps the
# thread that it waits for from running
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import hypothesis
import pytest

pytest.register_assert_rewrite("faults", "proxied", "serving")  # so that they say what they found

# a busy machine pauses; how long something takes is what benchmarks say
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


# the files that take longest: a model is trained and the project installed, many processes load models,
# many models are packaged; and of those that start no server
LONGEST = (
    *("test_documents.py", "test_scoring_jobs.py", "test_kinds.py"),
    *("test_fused_encoder.py", "test_packaging.py", "test_calibrator.py", "test_gpu_kit.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Have programs that tests run heed the signals that a shell, or nohup, has them ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    # a process that only hands the tests out to others begins without the seconds that torch takes
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("shared_fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no process is left with it in the end."""
    items.sort(
        key=lambda item: (item.path.name not in LONGEST, "end_to_end" not in item.path.parts)
    )
