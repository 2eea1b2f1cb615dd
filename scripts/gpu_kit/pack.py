"""What a GPU machine without a network needs: wheels and a model, in parts that are easy to carry.

    DIR/part-1/…, part-2/…      wheels, and the model's files, at most 55 MiB a part
    DIR/environment/            made there: an environment on top of the Python that has torch

Not among them are torch, transformers and what these bring: the machine has builds of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

from .paths import kit_environment

PART = 55 << 20  # bytes
_THERE = ("torch", "transformers")
_EXTRAS = {"explain"}
_PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux1")
_MODEL, _REQUIREMENTS = "model", "requirements.txt"


def pack(target: Path, python: str, model: Path | None) -> int:
    """Fill `target`, for a machine like this one with a Python of that version; 1 where it cannot be."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        print(f"Error: {target} is no empty folder; name another one", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="gpu-kit-pack-") as name:
        wheels = Path(name)
        if not _download(wheels, python):
            return 1
        lines = [f"{each.name}{each.specifier}" for each in requirements()]
        (wheels / _REQUIREMENTS).write_text("".join(f"{line}\n" for line in lines))
        found = [(path, Path(path.name)) for path in sorted(wheels.iterdir())]
        if model:
            files = sorted(path for path in model.iterdir() if path.is_file())
            found += [(path, Path(_MODEL) / path.name) for path in files]
        for number, part in enumerate(in_parts(found), start=1):
            size = sum(path.stat().st_size for path, _ in part)
            for path, place in part:
                copy = target / f"part-{number}" / place
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            print(f"{target}/part-{number}: {len(part)} files, {size / 2**20:.0f} MiB")
    print(f"carry {target} and this checkout there, then run: scripts/gpu --from {target.name}")
    return 0


def in_parts(files: list[tuple[Path, Path]]) -> list[list[tuple[Path, Path]]]:
    """Files with their places, in as few parts as they come to when each goes where it first fits.

    A file that is larger than a part is a part of its own.
    """
    parts: list[list[tuple[Path, Path]]] = []
    left: list[int] = []
    for path, place in sorted(files, key=lambda file: -file[0].stat().st_size):
        size = path.stat().st_size
        number = next((n for n, room in enumerate(left) if room >= size), len(parts))
        if number == len(parts):
            parts.append([])
            left.append(PART)
        parts[number].append((path, place))
        left[number] -= size
    return parts


def unpack(source: Path) -> Path | None:
    """Make an environment of it and go on in that; returns the model's folder once it is there."""
    environment = source.resolve() / "environment"
    if Path(sys.prefix).resolve() == environment:
        model = environment / _MODEL
        return model if model.is_dir() else None
    parts = sorted(source.glob("part-*"))
    if not parts:
        sys.exit(f"Error: {source} holds no part-1; make it with `scripts/gpu --pack {source}`")
    python = _make_environment(environment)
    lines = [line for part in parts for line in _lines(part / _REQUIREMENTS)]
    wanted = {canonicalize_name(each.name): each for each in map(Requirement, lines)}
    wheels = [
        wheel for part in parts for wheel in part.glob("*.whl") if not _is_there(wheel, wanted)
    ]
    if wheels:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-index", "--no-deps", "--upgrade", "--target", str(_site(python))]
        command += map(str, wheels)
        if subprocess.run(command, check=False).returncode:
            sys.exit("Error: the wheels do not fit this Python; pack for it with --python")
    for part in parts:
        if (part / _MODEL).is_dir():
            shutil.copytree(part / _MODEL, environment / _MODEL, dirs_exist_ok=True)
    return os.execve(python, [str(python), "-m", "gpu_kit", *sys.argv[1:]], kit_environment())


def _site(python: Path) -> Path:
    """Where that Python has its packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _make_environment(environment: Path) -> Path:
    """A virtual environment that sees what this Python sees, an environment itself perhaps."""
    import venv

    venv.create(environment, system_site_packages=True, symlinks=True)
    python = environment / "bin" / "python"
    own = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    # with what .pth files there lead to, which a path alone does not bring
    lines = (f"import site; site.addsitedir({path!r})\n" for path in own)
    (_site(python) / "underneath.pth").write_text("".join(lines))
    return python


def _is_there(wheel: Path, wanted: Mapping[NormalizedName, Requirement]) -> bool:
    """Whether the machine has a release that will do."""
    name, _, _, _ = parse_wheel_filename(wheel.name)
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return name not in wanted or wanted[name].specifier.contains(found)


def requirements() -> list[Requirement]:
    """What bertserve asks for where it serves, as it is installed here."""
    found = map(Requirement, importlib.metadata.requires("bertserve") or [])
    return [each for each in found if _is_wanted(each)]


def _is_wanted(requirement: Requirement) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *_EXTRAS))


def _download(target: Path, python: str) -> bool:
    """The wheels of what is installed here, for another Python."""
    left_out = set(_closure(iter(_THERE)))
    wanted = [each.name for each in requirements() if each.name not in _THERE]
    names = sorted(set(_closure(iter(wanted))) - left_out)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--implementation=cp"]
    command += ["--python-version", python, "--dest", str(target)]
    command += [f"--platform={each}_x86_64" for each in _PLATFORMS]
    pinned = [f"{name}=={importlib.metadata.version(name)}" for name in names]
    if subprocess.run([*command, *pinned], check=False).returncode:
        print(f"Error: pip could not fetch the wheels for Python {python}", file=sys.stderr)
        return False
    return True


def _closure(names: Iterator[str]) -> Iterator[str]:
    """Packages and all that they ask for, as they are installed here."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform
            continue
        yield name
        for each in map(Requirement, needed):
            if not each.marker or each.marker.evaluate({"extra": ""}):
                waiting.append(each.name)
