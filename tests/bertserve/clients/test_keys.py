from __future__ import annotations

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import httpx
import pytest

from bertserve.clients.keys import bearer, fresh_key, read_api_key, read_key, seconds_left
from bertserve.errors import ServerError


def write(folder: Path, minutes: float) -> Path:
    """A key file as TorchServe writes it, whose keys expire in some minutes."""
    expires = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    stamp = expires.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    path = folder / "key_file.json"
    path.write_text(
        json.dumps(
            {
                "management": {"key": "m-key", "expiration time": stamp},
                "inference": {"key": "i-key", "expiration time": stamp},
                "API": {"key": "a-key"},
            }
        )
    )
    return path


def test_keys_are_read_by_their_kind(tmp_path: Path) -> None:
    path = write(tmp_path, minutes=1)
    assert (read_key(path, "inference"), read_key(path, "management")) == ("i-key", "m-key")
    assert read_api_key(path) == "a-key"


def test_a_key_that_has_not_expired_is_used(tmp_path: Path) -> None:
    assert fresh_key(write(tmp_path, minutes=1), "inference", "http://nobody.invalid") == "i-key"


def test_an_expired_key_is_renewed_with_the_api_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes=-1)

    def renew(
        url: str,
        *,
        params: dict[str, str],
        headers: dict[str, str],
        trust_env: bool,
        **_: object,
    ) -> httpx.Response:
        assert (url, params["type"]) == ("http://management/token", "inference")
        assert not trust_env  # no proxy gets to see the key that makes keys
        assert headers == {"Authorization": "Bearer a-key"}
        path.write_text(path.read_text().replace("i-key", "new-key"))
        return httpx.Response(200)

    monkeypatch.setattr(httpx, "get", renew)
    assert fresh_key(path, "inference", "http://management") == "new-key"


def renewing(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From now on keys of the file are renewed, slowly; gives the keys that were asked for."""
    asked = []

    def renew(_: str, *, params: dict[str, str], **__: object) -> httpx.Response:
        asked.append(params["type"])
        before = path.read_bytes()
        time.sleep(0.1)
        assert path.read_bytes() == before  # nobody else did
        keys = json.loads(before)
        expires = datetime.now(timezone.utc) + timedelta(minutes=1)
        keys[params["type"]] = {"key": f"new-{len(asked)}", "expiration time": expires.isoformat()}
        path.write_text(json.dumps(keys))
        return httpx.Response(200)

    monkeypatch.setattr(httpx, "get", renew)
    return asked


@pytest.mark.parametrize(("minutes", "refused"), [(-1, None), (1, "i-key")])
def test_of_many_that_need_a_new_key_one_renews_it(
    minutes: float, refused: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes)
    asked = renewing(path, monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: fresh_key(path, "inference", "x", refused), range(8)))
    assert keys == ["new-1"] * 8
    assert asked == ["inference"]


def test_a_key_that_was_refused_and_is_another_one_by_now_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes=1)
    asked = renewing(path, monkeypatch)
    assert fresh_key(path, "inference", "x", "former") == "i-key"
    assert asked == []


def test_a_key_that_expires_soon_is_renewed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes=1)
    asked = renewing(path, monkeypatch)
    assert 50 < seconds_left(path, "inference") < 61
    assert fresh_key(path, "inference", "x", ahead=10) == "i-key"
    assert fresh_key(path, "inference", "x", ahead=100) == "new-1"
    assert asked == ["inference"]


@pytest.fixture
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is writing the file, so it need not be waited for long."""
    monkeypatch.setattr("bertserve.clients.keys._WRITING", 0.05)


@contextmanager
def soon(write: Callable[[], object]) -> Iterator[None]:
    """Write something a moment after the block has begun."""
    timer = threading.Timer(0.1, write)
    timer.start()
    yield
    timer.join()


def test_a_file_that_is_being_written_is_read_when_it_has_been(tmp_path: Path) -> None:
    path = write(tmp_path, minutes=1)
    content = path.read_bytes()
    path.write_bytes(content[:40])
    with soon(lambda: path.write_bytes(content)):
        assert read_key(path, "inference") == "i-key"


def test_a_file_that_lags_behind_the_server_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes=1)
    asked = renewing(path, monkeypatch)
    for read in (read_key, partial(fresh_key, management="x")):
        old = read_key(path, "inference")
        new = path.read_text().replace(old, f"{old}+")
        with soon(lambda new=new: path.write_text(new)):  # type: ignore[misc]
            assert read(path, "inference", refused=old) == f"{old}+"
    assert asked == []


@pytest.mark.usefixtures("_settled")
def test_who_keeps_others_from_renewing_does_so_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes=-1)
    renewing(path, monkeypatch)
    monkeypatch.setattr("bertserve.clients.keys._RENEWING", 0)
    with path.open("rb") as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        assert fresh_key(path, "inference", "x") == "new-1"


def test_a_process_that_is_forked_meanwhile_keeps_nobody_from_renewing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, minutes=-1)
    children = []

    def fork(*_: object, **__: object) -> httpx.Response:
        children.append(os.fork())
        if not children[0]:
            signal.pause()
        return httpx.Response(200)

    monkeypatch.setattr(httpx, "get", fork)
    fresh_key(path, "inference", "x")
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


@pytest.mark.usefixtures("_settled")
@pytest.mark.parametrize(("management", "api_key"), [("http://[::1", "a"), ("http://x", "ä")])
def test_a_renewal_that_cannot_be_asked_for_is_an_error(
    management: str, api_key: str, tmp_path: Path
) -> None:
    path = write(tmp_path, minutes=-1)
    path.write_text(path.read_text().replace("a-key", api_key))
    with pytest.raises(ServerError, match="TorchServe does not answer at"):
        fresh_key(path, "inference", management)
    path = write(tmp_path, minutes=1)
    path.write_text(path.read_text().replace("a-key", api_key))
    assert fresh_key(path, "inference", management, refused="i-key") == "i-key"


@pytest.mark.usefixtures("_settled")
def test_a_key_of_another_server_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, minutes=1)
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(400))
    assert fresh_key(path, "inference", "http://management", refused="i-key") == "i-key"


def test_a_refused_renewal_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(400))
    with pytest.raises(ServerError, match="does not renew the inference key"):
        fresh_key(write(tmp_path, minutes=-1), "inference", "http://management")


@pytest.mark.usefixtures("_settled")
@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "{}",
        "[]",
        '{"inference": null}',
        '{"inference": {"expiration time": "2999-01-01T00:00:00Z"}}',
        '{"inference": {"key": "k", "expiration time": "x"}}',
    ],
)
def test_a_key_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key_file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ServerError, match="no readable inference key"):
        read_key(path, "inference")


def test_a_key_is_shown_as_a_bearer_token() -> None:
    assert bearer("k") == {"Authorization": "Bearer k"}
    assert bearer(None) == {}
