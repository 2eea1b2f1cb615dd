from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

from bertserve.errors import ServerError
from bertserve.keys import bearer, fresh_key, read_api_key, read_key


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
        url: str, *, params: dict[str, str], headers: dict[str, str], trust_env: bool
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


def test_a_new_key_is_not_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody whose keys are refused for another reason does not keep others from theirs."""
    path = write(tmp_path, minutes=1)
    renewing(path, monkeypatch)
    slept: list[float] = []
    monkeypatch.setattr("bertserve.keys.time.sleep", slept.append)
    key = fresh_key(path, "inference", "x", "i-key")
    assert fresh_key(path, "inference", "x", key) == "new-2"
    assert slept.count(1.0) == 2
    os.utime(path, (0, 0))
    assert fresh_key(path, "inference", "x", "new-2") == "new-3"
    assert slept.count(1.0) == 2


def test_a_key_of_another_server_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, minutes=1)
    os.utime(path, (0, 0))
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(400))
    assert fresh_key(path, "inference", "http://management", refused="i-key") == "i-key"


def test_a_refused_renewal_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx, "get", lambda *_, **__: httpx.Response(400))
    with pytest.raises(ServerError, match="does not renew the inference key"):
        fresh_key(write(tmp_path, minutes=-1), "inference", "http://management")


@pytest.mark.parametrize("content", [None, "", "{}", "[]"])
def test_a_key_file_that_cannot_be_read_is_an_error(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "key_file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ServerError, match="no readable inference key"):
        read_key(path, "inference")


def test_a_key_is_shown_as_a_bearer_token() -> None:
    assert bearer("k") == {"Authorization": "Bearer k"}
    assert bearer(None) == {}
