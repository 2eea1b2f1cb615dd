import ast
import shutil
import subprocess
import sys
from pathlib import Path

import handler

HANDLER = Path(handler.__file__).parent
MODULES = sorted(HANDLER.rglob("*.py"))
ALLOWED = {"handler", "torch", "transformers"} | set(sys.stdlib_module_names)
# what TorchServe's own worker has imported already, or none; captum is for explanations alone, and Triton
# comes with torch for GPUs
OPTIONAL = {"captum", "orjson", "triton", "ts"}


def imported(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports from outside its own package."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_the_handler_imports_nothing_but_what_a_server_has() -> None:
    assert len(MODULES) > 10
    assert {
        path.name: unknown for path in MODULES if (unknown := imported(path) - ALLOWED - OPTIONAL)
    } == {}


def test_the_handler_is_imported_without_the_rest_of_the_project(tmp_path: Path) -> None:
    shutil.copytree(HANDLER, tmp_path / "handler", ignore=shutil.ignore_patterns("__pycache__"))
    block = (
        "import sys; sys.modules |= dict.fromkeys(('bertserve', 'captum', 'orjson')); "
        "import handler.bert_handler, handler.wire.json_writer as encoding; "
        "assert 'handler.engine.gpu' not in sys.modules; "
        "assert encoding.to_json({'\u00e4': [0.1, None]}) == '{\"\u00e4\":[0.1,null]}'.encode()"
    )
    subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True
    )
