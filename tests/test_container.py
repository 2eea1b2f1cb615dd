"""What the Containerfile says fits what is in the checkout; `scripts/image` builds and runs it."""

from __future__ import annotations

import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

from bertserve.serving.config import read_config
from documents import ROOT

CONTAINERFILE = (ROOT / "deploy" / "container" / "Containerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".containerignore").read_text(encoding="utf-8").splitlines()


def test_its_configuration_is_ours_open_where_nothing_is_to_be_seen(tmp_path: Path) -> None:
    changes = re.findall(r"-e '(s\|.+?\|)'", CONTAINERFILE)
    assert len(changes) == 3
    text = (ROOT / "config.properties").read_text(encoding="utf-8")
    for change in changes:
        done = subprocess.run(["sed", "-e", change], input=text, capture_output=True, text=True)
        assert done.stdout != text, change
        text = done.stdout
    (tmp_path / "config.properties").write_text(text)
    config = read_config(tmp_path / "config.properties")
    bound = {line.split("=")[0] for line in text.splitlines() if "0.0.0.0" in line}
    assert bound == {"metrics_address", "supervisor_address"}
    assert config.tokens
    assert config.ports()["supervisor_address"] == ("0.0.0.0", 8083)
    (health,) = re.findall(r"urlopen\('(.+?)'", CONTAINERFILE)
    assert health == f"{config.supervisor}/ready"


def test_it_is_of_this_version() -> None:
    (version,) = re.findall(
        r'(?m)^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    assert f"ARG VERSION={version}\n" in CONTAINERFILE


def test_what_it_is_built_of_is_copied_and_nothing_that_was_built_elsewhere() -> None:
    kept = [line[1:] for line in IGNORED if line.startswith("!")]
    assert all((ROOT / path).exists() for path in kept)
    links = [path for path in (ROOT / "bertserve").rglob("*") if path.is_symlink()]
    assert links
    for link in links:
        target = str(link.resolve().relative_to(ROOT))
        assert any(target == each or target.startswith(f"{each}/") for each in kept), link
    libraries = "handler/engine/kernels/encoder-haswell.so"
    assert any(fnmatch(libraries, pattern) for pattern in IGNORED if not pattern.startswith("!"))


def test_docker_ignores_the_same() -> None:
    link = ROOT / "deploy" / "container" / "Containerfile.dockerignore"
    assert link.resolve() == ROOT / ".containerignore"
