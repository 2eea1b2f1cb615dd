"""Why a worker does not load, in its own words, from TorchServe's logs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_WORKER = re.compile(r"^W-\d+-(?P<model>.+)-std(?:out|err)$")  # the thread that reads its output
_LOAD_FAILURE = re.compile(r"^(?:Failed to load|Load) model .*?exception (?P<reason>.+)")
_DIED = "Backend worker process died."
_EXCEPTION = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*")
_REGISTRATION = re.compile(r"Failed to load model: (?P<archive>\S+)")


@dataclass(frozen=True)
class LoadFailure:
    """A model that does not load, and the reason that its worker gave."""

    model: str
    reason: str


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
                exception = event.get("exception", "").splitlines()
                causes = [text for text in exception if _EXCEPTION.match(text)]
                return f"{match['archive']}: {causes[0]}" if causes else match["archive"]
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
