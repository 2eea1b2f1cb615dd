from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bertserve.clients.canary import Canary, read_canaries, store_canary
from bertserve.clients.results import Model, Worker
from bertserve.errors import ServerError
from bertserve.versions.versions import RETIRED, Versions

MODEL = Model("tiny", "1.0", True, (Worker("9000", 1, "READY"),), 1, archive="tiny-1.0.mar")


class Fake(Versions):
    """A server that serves MODEL, until it is asked not to."""

    asked: bool = False
    fault: BaseException | None = None
    busy: bool = False

    def all(self, name: str | None = None) -> list[Model]:
        return [MODEL] if name == MODEL.name else []

    def drain(self, _: Model) -> None:
        if self.busy:
            raise ServerError("is still asked")

    def _change(self, *_: Any) -> None:
        if self.fault:
            raise self.fault
        self.asked = True


@pytest.fixture
def versions(tmp_path: Path) -> Fake:
    for name in ("store", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "store" / "tiny-1.0.mar").write_text("x")
    store_canary(tmp_path / "state", "tiny", Canary("1.0", 5, "text"))
    server: Any = SimpleNamespace(
        model_store=str(tmp_path / "store"), directory=str(tmp_path / "state")
    )
    return Fake(server)


def as_before(versions: Fake) -> bool:
    canary = read_canaries(versions.state).get("tiny")
    return (versions.model_store / "tiny-1.0.mar").exists() and canary is not None


def test_an_archive_is_put_away(versions: Fake) -> None:
    versions.unregister("tiny", "1.0")
    assert versions.asked
    assert (versions.model_store / RETIRED / "tiny-1.0.mar").read_text() == "x"
    assert not as_before(versions)


def test_a_store_that_cannot_be_written_changes_nothing(versions: Fake) -> None:
    (versions.model_store / RETIRED).write_text("no folder")
    with pytest.raises(ServerError, match="tiny 1.0 is served as before, for its archive cannot"):
        versions.unregister("tiny", "1.0")
    assert not versions.asked
    assert as_before(versions)


@pytest.mark.parametrize("fault", [ServerError("no"), KeyboardInterrupt()])
def test_what_torchserve_refuses_changes_nothing(versions: Fake, fault: BaseException) -> None:
    versions.fault = fault
    with pytest.raises(type(fault)):
        versions.unregister("tiny", "1.0")
    assert as_before(versions)


def test_one_that_is_asked_keeps_its_canary(versions: Fake) -> None:
    versions.busy = True
    with pytest.raises(ServerError, match="still asked"):
        versions.unregister("tiny", "1.0")
    assert not versions.asked
    assert as_before(versions)


def test_an_archive_that_is_gone_is_no_hindrance(versions: Fake) -> None:
    (versions.model_store / "tiny-1.0.mar").unlink()
    versions.unregister("tiny", "1.0")
    assert versions.asked
