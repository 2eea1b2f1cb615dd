"""Quality: a labelled file judged by a version that is served, its report, and its mistakes."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import BertserveError, ConfigError
from ..serving import Server
from ..system import scratch_folder
from .live import Posted
from .replies import Json, events, problem, told

if TYPE_CHECKING:  # it takes seconds to import, and is an extra of its own
    from ..quality import Judged

Find = Callable[[], Server]
_LARGEST = 256 << 20  # bytes
_MOST_SHOWN = 200
_NAMELESS = {errno.ENAMETOOLONG, errno.EISDIR, errno.EILSEQ, errno.EINVAL}
# of the page, by the options of `bertserve evaluate`
_FIELDS = {
    f"--{option}": f'under "Columns with other names" on this page, at "{field}"; left empty, {usual}'
    for option, field, usual in (
        ("column", "Text", "it is the column text"),
        ("pair-column", "Second text", "it is the column text_pair"),
        (
            "label-column",
            "Label",
            "it is the first of label, labels, category, intent, class and target that there is, or a "
            "column for each label",
        ),
    )
}
# the report runs nothing; its style names itself by a hash in the page
_OF_REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"
)


class _Stopped(Exception):
    """Somebody asked for the end."""


@dataclass(frozen=True)
class _Asked:
    """What is judged: a version, on a file that was dropped, whose columns are called so."""

    name: str
    version: str | None
    columns: Mapping[str, str]
    stopping: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """_Stopped once somebody has asked for the end."""
        if self.stopping.is_set():
            raise _Stopped


def _new(path: Path) -> BinaryIO:
    """A file to write; ConfigError where there can be none of that name."""
    try:
        return path.open("wb")
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in _NAMELESS:
            raise
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"no file can have that name ({reason}); give it another one") from error


async def _keep(request: Request, path: Path) -> None:
    """Write a request's body to a file; ConfigError where it is too large."""
    with _new(path) as written:
        async for chunk in request.stream():
            if written.tell() + len(chunk) > _LARGEST:
                raise ConfigError(
                    f"{path.name} has more than {_LARGEST:,} bytes; judge it with `bertserve evaluate`"
                )
            await run_in_threadpool(written.write, chunk)


class Quality:
    """One file at a time, and the last that was judged."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._busy = threading.Lock()
        self._asked: _Asked | None = None
        self._kept: ExitStack | None = None
        self._judged: Judged | None = None
        self._report = ""
        self.shown = Posted({"state": "idle"})

    async def take(self, request: Request) -> None:
        """Have a file judged, in a thread of its own; ConfigError where another one is."""
        query = dict(request.query_params)
        name, file = query.pop("model", ""), Path(query.pop("file", "")).name
        if not (name and file):
            raise ConfigError("name the model, and the file by whose name it is read")
        columns: dict[str, str] = {
            key: query[key] for key in ("text", "pair", "label") if key in query
        }
        asked = _Asked(name, query.get("version"), columns)
        if not self._busy.acquire(blocking=False):
            raise ConfigError("another file is being judged; wait for it")
        with ExitStack() as undone:
            undone.callback(self._busy.release)
            folder = ExitStack()
            undone.push(folder)
            path = folder.enter_context(scratch_folder("console")) / file
            await _keep(request, path)
            self._asked = asked
            self.shown.post({"state": "running", "file": file, "done": 0, "of": 0})
            self._kept = kept = undone.pop_all()
            threading.Thread(target=self._judge, args=[asked, path, kept], daemon=True).start()

    def stop(self) -> None:
        """Have the file that is being judged, if one is, judged no further than what was asked."""
        if self._asked and self.shown.value["state"] == "running":
            self._asked.stopping.set()
            self.shown.post({**self.shown.value, "state": "stopping"})

    def end(self) -> None:
        """Leave nothing of a file that is being judged."""
        if self._kept:
            self._kept.close()

    def _judge(self, asked: _Asked, path: Path, kept: ExitStack) -> None:
        # as it is left where nobody foresaw what goes wrong; Python tells that on standard error
        found = {"state": "failed", **told("internal", "a fault of the console; please report it")}
        try:
            with kept:
                found = self._judged_by(asked, path)
        except _Stopped:
            pass  # see below
        except (BertserveError, OSError) as error:
            found = {"state": "failed", **_on_the_page(problem(error), path)}
        except ModuleNotFoundError as error:
            said = f"this needs {error.name}; install it: `pip install 'bertserve[evaluate]'`"
            found = {"state": "failed", **told("missing", said)}
        finally:
            if asked.stopping.is_set():
                found = {"state": "stopped"}
            self.shown.post({**found, "file": path.name})

    def _judged_by(self, asked: _Asked, path: Path) -> dict[str, Any]:
        from ..quality import Columns, judge, mistakes, served
        from ..quality.reports import report_of

        def report(done: int, of: int) -> None:
            asked.go_on()
            self.shown.post({"state": "running", "file": path.name, "done": done, "of": of})

        model = served(self._find(), asked.name, asked.version)
        judged = judge(model, path, Columns(**asked.columns), report)
        asked.go_on()
        page = report_of(judged)
        asked.go_on()
        self._judged, self._report = judged, page
        found = judged.evaluation
        return {
            "state": "done",
            "model": {"name": model.facts["name"], "version": model.facts["version"]},
            "texts": found.texts,
            "right": found.exact_match if found.independent else found.accuracy,
            "macro_f1": found.macro_f1,
            "ece": found.ece_width,
            "mistakes": len(mistakes(judged)),
            "confusions": found.confusions,
            "labels": found.labels,
        }

    def mistakes(self, right: str | None, predicted: str | None) -> dict[str, Any]:
        """Mistakes of the last file, the worst first, as many as a page has room for."""
        from ..quality import mistakes

        found = mistakes(self._last(), right or None, predicted or None)
        return {"mistakes": found[:_MOST_SHOWN], "of": len(found)}

    def report(self) -> str:
        """The report of the last file."""
        self._last()
        return self._report

    def _last(self) -> Judged:
        if self._judged is None:
            raise ConfigError("no file was judged yet; drop one")
        return self._judged


def _on_the_page(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """An error that names the file as the page does, and the page's fields for the command's options."""
    message = found["error"]["message"].replace(f"{path.parent}/", "")
    for option, place in _FIELDS.items():
        message = message.replace(f"with {option}", place)
    return told(found["error"]["code"], message)


def routes(quality: Quality) -> list[BaseRoute]:
    """Its paths."""

    async def take(request: Request) -> Response:
        await quality.take(request)
        return Json({"started": True})

    async def stop(_: Request) -> Response:
        quality.stop()
        return Json({"stopping": True})

    async def live(_: Request) -> Response:
        return events(quality.shown.values())

    async def mistakes(request: Request) -> Response:
        query = request.query_params
        asked = query.get("right"), query.get("predicted")
        return Json(await run_in_threadpool(quality.mistakes, *asked))

    async def report(_: Request) -> Response:
        html = quality.report().encode("utf-8", "replace")  # a text may hold half of a character
        return HTMLResponse(html, headers={"Content-Security-Policy": _OF_REPORT})

    return [
        Route("/api/quality", take, methods=["POST"]),
        Route("/api/quality/stop", stop, methods=["POST"]),
        Route("/api/quality/live", live),
        Route("/api/quality/mistakes", mistakes),
        Route("/quality/report", report),
    ]
