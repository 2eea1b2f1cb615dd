"""The house is as docs/structure.md draws it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from documents import ROOT

MOST_MODULES = 14
PAGE = (ROOT / "docs" / "structure.md").read_text()
# modules at the top of each house are for all; those of a package are behind its door
HOUSES = ("handler", "bertserve")


def read(house: str) -> dict[str, Path]:
    """Dotted name of each module of a house → its file; a package is its `__init__`."""
    found = {}
    for path in sorted((ROOT / house).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[:2] == ("bertserve", "handler") or path.stem.endswith(("_pb2", "_pb2_grpc")):
            continue
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = {name: path for house in HOUSES for name, path in read(house).items()}
PACKAGES = {name for name, path in MODULES.items() if path.stem == "__init__"}


def package_of(module: str) -> str:
    return module if module in PACKAGES else module.rpartition(".")[0]


def imports(module: str) -> Iterator[str]:
    """The modules of both houses that a module imports, wherever in it."""
    path = MODULES[module]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package_of(module).split(".") if node.level else []
        base = base[: len(base) - node.level + 1] if node.level else base
        target = ".".join([*base, *filter(None, [node.module])]).removeprefix("bertserve.")
        target = target if target.split(".")[0] == "handler" else f"bertserve.{target}"
        target = "bertserve" if target == "bertserve.bertserve" else target
        for alias in node.names:
            inner = f"{target}.{alias.name}"
            if found := next((each for each in (inner, target) if each in MODULES), None):
                yield found


ARROWS = {module: set(imports(module)) for module in MODULES}


def test_arrows_are_found() -> None:
    assert "handler.engine" in ARROWS["handler.pipeline"]
    assert "bertserve.serving" in ARROWS["bertserve.versions.rollouts"]
    assert "handler.probabilities" in ARROWS["bertserve.archives.folder"]
    assert "handler.settings" in ARROWS["bertserve.quality.scores"]  # inside of a function


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_no_folder_has_too_many_modules(package: str) -> None:
    assert len(list(MODULES[package].parent.glob("*.py"))) <= MOST_MODULES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_nobody_reaches_past_a_package_s_door(module: str) -> None:
    here = package_of(module)
    for target in ARROWS[module]:
        door = package_of(target)
        is_inside = here == door or here.startswith(f"{door}.")
        assert target == door or is_inside or door in HOUSES, f"{target} is behind {door}"


def test_no_imports_run_in_a_circle() -> None:
    own = {module: targets - {module} for module, targets in ARROWS.items()}
    # a package is imported by way of its `__init__`, but that is no arrow of its modules
    list(TopologicalSorter(own).static_order())


def test_packages_form_no_circle() -> None:
    """Seen as whole packages; what a package shares with those inside of it is its own affair."""
    arrows: dict[str, set[str]] = {}
    for module, targets in ARROWS.items():
        here = _subject(module)
        arrows.setdefault(here, set()).update(map(_subject, targets))
        arrows[here].discard(here)
    list(TopologicalSorter(arrows).static_order())


def _subject(module: str) -> str:
    """The package below a house that a module is in; a module at the top stands for itself."""
    return ".".join(module.split(".")[:2])


def test_the_handler_knows_nothing_of_the_rest() -> None:
    for module, targets in ARROWS.items():
        if module.split(".")[0] == "handler":
            assert {target.split(".")[0] for target in targets} <= {"handler"}


def test_each_package_says_what_each_of_its_modules_is_for() -> None:
    for package in PACKAGES - set(HOUSES):
        text = ast.get_docstring(ast.parse(MODULES[package].read_text())) or ""
        for module in MODULES:
            if (
                package_of(module) == package
                and module != package
                and package != "bertserve.protos"
            ):
                name = module.rpartition(".")[2]
                assert re.search(rf"\b{name}\b", text), f"{package} does not say what {name} is for"


def test_the_page_names_what_exists() -> None:
    named = set(re.findall(r"`((?:handler|bertserve|tests|scripts|deploy|docs)/[\w./]*)`", PAGE))
    assert len(named) > 30
    assert {path for path in named if not (ROOT / path).exists()} == set()
    bare = set(re.findall(r"`(\w+\.py)`", PAGE))
    names = {path.name for path in MODULES.values()}
    assert bare - names == set()


def test_the_page_names_every_package() -> None:
    rooms = set(re.findall(r"^\| `([\w/]+)/` \|", PAGE, re.MULTILINE))
    assert rooms == {package.replace(".", "/") for package in PACKAGES - set(HOUSES)}


def scripts() -> list[Path]:
    """The programs whose names do not end in .py, which neither types nor lint see."""
    files = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    return [path for path in files if "python" in path.read_text().partition("\n")[0]]


@pytest.mark.parametrize("script", scripts(), ids=lambda path: path.name)
def test_scripts_import_what_there_is(script: Path) -> None:
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in HOUSES:
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or import_module(f"{node.module}.{alias.name}")
