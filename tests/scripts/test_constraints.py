"""The versions of constraints.txt fit what pyproject.toml allows, on every Python that is supported."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
EXTRAS = ["adapters", "dev", "evaluate", "explain"]


def pinned(python: str) -> dict[str, Version]:
    """What is installed on a Python: a version by package."""
    here = on(python)
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [Requirement(line) for line in text.splitlines() if not line.startswith("#")]
    found = [line for line in lines if line.marker is None or line.marker.evaluate(here)]
    assert all([s.operator for s in line.specifier] == ["=="] for line in found)
    names = [canonicalize_name(line.name) for line in found]
    assert len(names) == len(set(names)), "two versions of one package"
    return {
        name: Version(next(iter(line.specifier)).version)
        for name, line in zip(names, found, strict=True)
    }


def on(python: str, extra: str = "") -> dict[str, str]:
    here = {key: str(value) for key, value in default_environment().items()}
    return here | {
        "python_version": python,
        "python_full_version": f"{python}.5",
        "extra": extra,
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_has_a_version_that_it_allows(python: str) -> None:
    versions = pinned(python)
    needs = [Requirement(need) for need in requires("bertserve") or ()]
    assert len(needs) > 30
    for need in needs:
        if need.name == "bertserve":
            continue  # an extra of extras
        if need.marker is None or any(
            need.marker.evaluate(on(python, extra)) for extra in ("", *EXTRAS)
        ):
            assert need.specifier.contains(versions[canonicalize_name(need.name)]), str(need)


def test_no_host_is_named() -> None:
    assert not re.search(r"://|--|@", (ROOT / "constraints.txt").read_text(encoding="utf-8"))


def test_the_download_s_size_is_known() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    sizes = dict(re.findall(r"(?m)^# to download, (\w+ \w+ CUDA): (\d+) MB$", text))
    assert set(sizes) == {f"{e} {w} CUDA" for e in ("base", "dev") for w in ("with", "without")}
