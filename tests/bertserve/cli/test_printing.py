"""What anybody wrote is shown on a terminal, and never obeyed by it."""

from __future__ import annotations

import io
import json
import random
import re
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hostile
import pytest
from rich.text import Text

from bertserve import cli, serving
from bertserve.cli import explain as explaining
from bertserve.cli import printing, versions
from bertserve.cli import tables as figures
from bertserve.cli.app import err, out
from bertserve.cli.terminal import ShownStream, as_json, shown
from bertserve.clients import outputs
from bertserve.clients.files import row_of
from bertserve.clients.results import Explanation, Model, Prediction, Word, Worker
from bertserve.errors import TextError
from bertserve.inputs import Pair

_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
CONTROLS = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"),
    *_BIDI, "\u200b", "\ufeff", "\u2028", "\u2029", "\ud800", "\U000e0001", "\u00ad",
]  # fmt: skip
SEQUENCES = [
    "\x1b[2J", "\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1b[6n", "\x1bP+q\x1b\\",
    "\x9b31m", "\x9d0;title\x9c", "\r\x1b[K", "\x08\x08", "\x1b[?1049h", "[red]", "[/]", "[link=x]",
]  # fmt: skip
# how lines of progress go away: the cursor is hidden, lines are cleared
_OF_PROGRESS = re.compile(r"\x1b\[\?25[lh]|\r?\x1b\[2K|\x1b\[1A")
EVERYTHING = "".join(f"a{each}b" for each in (*CONTROLS, *SEQUENCES))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(call: Callable[[], object]) -> str:
    """What a call prints on one that is so wide that nothing is cut."""
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "4000")
        patch.setattr(sys, "stdout", terminal)
        patch.setattr(sys, "stderr", terminal)
        call()
    return terminal.getvalue()


def check(printed: str) -> None:
    """Nothing in it is obeyed."""
    obeyed = {
        each for each in printed if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    }
    assert obeyed <= set("\n\t\u200c\u200d")  # joiners are parts of words


@pytest.mark.parametrize("control", [*CONTROLS, *SEQUENCES])
def test_a_control_is_written_as_python_writes_it(control: str) -> None:
    check(shown(control))
    assert shown(f"a{control}b").startswith("a")
    assert json.loads(as_json({"a": control})) == {"a": control}
    check(as_json({control: control}))


def test_what_is_no_control_stays() -> None:
    for text in ("Où est mon colis ?", "我的订单", "👩‍👩‍👧", "می‌خواهم", "a\tb\nc", "", "[red]"):
        assert shown(text) == text


def test_any_text_is_shown() -> None:
    chance = random.Random(14)
    for _ in range(2000):
        text = "".join(chr(chance.choice((chance.randrange(0x300), chance.randrange(0x110000))))
                       for _ in range(chance.randrange(30)))  # fmt: skip
        check(shown(text))


def model(text: str) -> Model:
    return Model(text, text, True, (Worker(text, 1, "READY"),), 1, archive=text)


def explanation(text: str) -> Explanation:
    fields: dict[str, Any] = dict.fromkeys(Explanation.__dataclass_fields__, 0.5)
    fields |= {"label": text, "tokens": 3, "truncated": True, "model": text, "version": text}
    fields |= {"words": (Word(text[:9], 0, 9, 0.5), Word(text[9:], 9, len(text), -0.5))}
    return Explanation(**fields)


def evaluation(text: str) -> dict[str, Any]:
    label = {
        "label": text,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "roc_auc": 0.5,
        "average_precision": 0.5,
        "support": 1,
        "threshold": 0.5,
    }
    worst = {
        "text": text,
        "text_pair": text,
        "right": [text],
        "predicted": [text],
        "probability": 0.1,
    }
    baseline = dict.fromkeys(("accuracy", "exact_match", "macro_f1", "micro_f1", "weighted_f1"))
    return {
        "texts": 1, "top": {}, "decisions": {}, "baseline": {**baseline, "label": text},
        "model": {"name": text, "version": text, "options": {"long_text": text}},
        "independent": True, "of_labels": [label], "intervals": {}, "worst": [worst],
        "confusions": [{"right": text, "predicted": text, "count": 1}],
    }  # fmt: skip


def calibration(text: str) -> dict[str, Any]:
    before = {"ece_width": 0.1}
    return {
        "method": text,
        "provenance": {
            "texts": 1, "data": text, "before": before, "after": before, "looks_seen": True, "folds": 5,
        },
    }  # fmt: skip


def status(text: str) -> dict[str, Any]:
    served = {"name": text, "version": text, "default": True, "state": text, "workers": []}
    return {"running": True, "logs": text, "models": [served]}


def steps(text: str) -> None:
    with printing.steps_listed() as report:
        report(text)
        report(f"{text}: {text}")


def line(text: str) -> None:
    with printing.progress_line() as progress:
        progress.add_task(text)


def predicted(text: str) -> list[Any]:
    found = Prediction({text: 0.9}, tokens=1, model=text, version=text, labels=(text,), set=(text,),
                       set_coverage=0.9)  # fmt: skip
    rows = [replace(row_of(each), kept={"kept": text}) for each in (text, Pair(text, text), text)]
    return list(zip(rows, (found, found, TextError("code", text)), strict=True))


def written(write: Callable[..., None], **options: Any) -> Callable[[str], None]:
    def rows(text: str) -> None:
        whole = text.replace("\ud800", "")  # which no file holds
        names = {"labels": [whole], "keep": ["kept"]} if options else {}
        write(predicted(whole), ShownStream(sys.stdout), **names, **options)

    return rows


PATHS: dict[str, Callable[[str], object]] = {
    "predictions": lambda text: printing.print_predictions(iter(predicted(text)), 3, ["kept"]),
    "a change": lambda text: printing.print_change(model(text), False),
    "a change for programs": lambda text: printing.print_change(model(text), True),
    "a status": lambda text: printing.print_status(status(text), False),
    "a status for programs": lambda text: printing.print_status(status(text), True),
    "a calibration's line": lambda text: out.print(
        printing.calibration_line(calibration(text)), markup=False
    ),
    "names": lambda text: out.print(printing.quoted([text]), markup=False),
    "a warning": printing.warn,
    "an evaluation": lambda text: figures.print_evaluation(evaluation(text)),
    "a calibration": lambda text: figures.print_calibration(Path(text), calibration(text)),
    "an explanation": lambda text: explaining.show(text, explanation(text)),
    "texts of rich": lambda text: out.print(Text(text)),
    "JSON": written(outputs.write_json),
    "JSON lines": written(outputs.write_jsonl),
    "CSV": written(outputs.write_csv, delimiter=","),
    "TSV": written(outputs.write_csv, delimiter="\t", escape_formulas=True),
}


def test_a_calibration_without_decisions_has_none() -> None:
    without = {"threshold": None, "thresholds": None, "sets": None}
    line = printing.calibration_line(calibration("temperature") | without)
    assert line == printing.calibration_line(calibration("temperature"))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("text", [EVERYTHING, *SEQUENCES])
def test_nothing_that_is_printed_is_obeyed(path: str, text: str) -> None:
    printed = on_a_terminal(lambda: PATHS[path](text))
    check(printed)
    assert printed


@pytest.mark.parametrize("path", [steps, line])
def test_lines_of_progress_are_shown(path: Callable[[str], None]) -> None:
    """They move the cursor by themselves, and by nothing else."""
    printed = on_a_terminal(lambda: path("".join(f"<{each}>" for each in (*CONTROLS, *SEQUENCES))))
    for each in (*CONTROLS, *SEQUENCES[:11]):
        assert f"<{each}>" not in printed


def test_in_a_pipe_data_are_as_they_are() -> None:
    stream = io.StringIO()
    ShownStream(stream).write("a\x1b[2Jb\r\n")
    assert stream.getvalue() == "a\x1b[2Jb\r\n"


def commands(*arguments: str) -> str:
    """What a command prints on a terminal, obeyed by none of it."""

    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["bertserve", *arguments])
            with pytest.raises(SystemExit):
                cli.main()

    printed = _OF_PROGRESS.sub("", on_a_terminal(run))
    check(printed)
    return printed


def test_inspect_shows_labels_and_provenance(tmp_path: Path) -> None:
    """Where no library refuses them: what a model's folder says may be anything."""
    nasty = EVERYTHING.replace("\ud800", "")
    files = hostile.good_files()
    names = json.dumps({"0": nasty, "1": "\x1b[2Jother"})
    config = {"architectures": [nasty], "id2label": {"0": nasty, "1": "x"}}
    files["model/index_to_name.json"] = names.encode()
    files["model/config.json"] = json.dumps(config).encode()
    files["model/calibration.json"] = json.dumps(calibration(nasty)).encode()
    measured = {**json.loads(files["precision.json"]), "sample": nasty, "precision": "bfloat16"}
    files["precision.json"] = json.dumps(measured).encode()
    archive = tmp_path / "x.mar"
    archive.write_bytes(hostile.zip_of(hostile.entries_of(hostile.listed(files))))
    printed = commands("inspect", str(archive), "--files")
    assert "\\x1b[2J" in printed
    assert "intact" in printed
    commands("inspect", str(archive), "--json")


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(
    "command",
    [
        ["models", "list"],
        ["models", "describe", "NAME"],
        ["models", "set-default", "NAME", "NAME"],
        ["models", "unregister", "NAME", "NAME"],
        ["models", "scale", "NAME", "2"],
        ["canary", "NAME", "--version", "NAME", "--percent", "5"],
        ["canary", "NAME", "--version", "NAME", "--percent", "0"],
        ["rollback", "NAME"],
        ["status"],
        ["predict", "NAME", "NAME"],
    ],
)
def test_names_that_a_server_tells(
    command: list[str], more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may be another one than ours, and serve what was packaged elsewhere."""
    nasty = EVERYTHING.replace("\ud800", "").replace("\0", "")

    class Anything:
        """Answers all that commands ask with names like that."""

        def __init__(self, *_: object) -> None: ...
        def all(self, *_: object) -> list[Model]:
            return [model(nasty)]

        def one(self, *_: object, **__: object) -> Model:
            return model(nasty)

        scale = rollback = one

        def description(self, _: Model) -> None: ...
        def memory(self, _: Model) -> int:
            return 1

        def change(self, *_: object) -> None: ...

        set_default = unregister = canary = change

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None: ...
        def describe(self) -> Any:
            return Described(name=nasty, labels=[nasty], calibration=calibration(nasty))

        def classify_each(self, texts: Any, **_: object) -> Any:
            return (predicted(nasty)[0][1] for _ in texts)

    server = SimpleNamespace(status=lambda: status(nasty), client=lambda *_, **__: Client())
    monkeypatch.setattr(serving, "find", lambda _: server)
    monkeypatch.setattr(versions, "Versions", Anything)
    monkeypatch.setattr("bertserve.cli.versions.roll_back", lambda *_: model(nasty))
    monkeypatch.setattr(versions, "asdict", lambda each: vars(each))
    command = [nasty if each == "NAME" else each for each in command]
    assert commands(*command, *more)


class Described(SimpleNamespace):
    """What workers say."""


@pytest.mark.parametrize(
    "why", [OSError(28, "No space left", EVERYTHING), TextError("x", EVERYTHING)]
)
def test_errors_are_shown(why: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise why

    monkeypatch.setattr(serving, "find", fail)
    assert "Error: " in commands("stop")


def test_all_that_is_printed_goes_through_them() -> None:
    """No command has a console of its own."""
    folder = Path(cli.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text()
        if path.name not in ("terminal.py", "app.py"):
            assert "Console(" not in text, path
            assert " print(" not in text, path
            assert "echo(" not in text, path
    assert type(out) is type(err)
