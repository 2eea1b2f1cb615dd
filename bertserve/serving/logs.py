"""Why a worker does not load, or TorchServe does not start, in their own words, from the logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

_WORKER = re.compile(r"^W-\d+-(?P<model>.+)-std(?:out|err)$")  # the thread that reads its output
_LOAD_FAILURE = re.compile(r"^(?:Failed to load|Load) model .*?exception (?P<reason>.+)")
_DIED = "Backend worker process died."
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*")
_REGISTRATION = re.compile(r"Failed to load model: (?P<archive>\S+)")
# a line of a Java exception: what it is and what it says
_THROWN = re.compile(
    r"^(?P<cause>Caused by: )?(?:Exception in thread \S+ )?"
    r"(?P<what>(?:\w+[.$])+\w*(?:Error|Exception)\b.*)"
)
_REFUSED = re.compile(
    r"^(Invalid configuration|Unrecognized|Invalid|Could not find|Error:|java not found)"
)
# the thread that shuts the front end down, which fails where that was never up
_SHUTDOWN = 'Exception in thread "Thread-'
# what the JVM, the launcher and libraries say whatever happens
_NOISE = re.compile(
    r"^(at |\.\.\. \d+ more|#?$|warning|nvidia-smi|Removing orphan|Model server (started|stopped)"
    r"|Error: (Could not create the Java|A fatal exception)|\S+ HotSpot|Picked up|# .*(report|hs_err))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class LoadFailure:
    """A model that does not load, and the reason that its worker gave."""

    model: str
    reason: str


def cause(lines: Iterable[str]) -> str | None:
    """Why Java ended, of what it printed; None where it does not say.

    An exception's cause is the last one that it names; a refusal of the configuration stands before any.
    """
    before_its_end = takewhile(lambda line: not line.startswith(_SHUTDOWN), lines)
    said = [line for each in before_its_end if (line := each.strip()) and not _NOISE.match(line)]
    if refused := next((line for line in said if _REFUSED.match(line)), None):
        return refused.removeprefix("Error: ")
    thrown = [match for line in said if (match := _THROWN.match(line))]
    first = thrown[:1]
    for match in thrown[1:]:
        if not match["cause"]:  # another exception, of something that failed in consequence
            break
        first.append(match)
    named = [match["what"] for match in first if ": " in match["what"]] or [
        m["what"] for m in first
    ]
    return named[-1] if named else next(iter(said), None)


class LogTail:
    """What a server has logged into a folder since this was made."""

    def __init__(self, logs: Path) -> None:
        self._sizes = {
            name: path.stat().st_size if (path := logs / name).exists() else 0
            for name in ("model_log.log", "ts_log.log")
        }
        self._logs = logs

    def load_failure(self) -> LoadFailure | None:
        """The first worker that failed to load, if one did."""
        printed: dict[str, str] = {}
        for event in self._events("model_log.log"):
            if not (match := _WORKER.match(event["thread"])):
                continue
            model, text = " ".join(match["model"].rsplit("_", 1)), event["message"]
            if failed := _LOAD_FAILURE.match(text):
                return LoadFailure(model, failed["reason"])
            if _EXCEPTION.match(text):
                printed[model] = text
            if model in printed and text == _DIED:
                return LoadFailure(model, printed[model])
        return None

    def registration_failure(self) -> str | None:
        """Why TorchServe could not register an archive, if that happened."""
        for event in self._events("ts_log.log"):
            if match := _REGISTRATION.search(event["message"]):
                reason = cause(event.get("exception", "").splitlines())
                return f"{match['archive']}: {reason}" if reason else match["archive"]
        return None

    def _events(self, name: str) -> list[dict[str, str]]:
        """The events of a file; a line that is being written, or none of ours, is left out."""
        events = []
        for line in self._lines(name):
            try:
                events.append({"thread": "", "message": "", **json.loads(line)})
            except (ValueError, TypeError):
                continue
        return events

    def _lines(self, name: str) -> list[str]:
        try:
            with (self._logs / name).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(self._sizes[name] if size >= self._sizes[name] else 0)
                return file.read().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []
