"""A real Prometheus beside a real TorchServe: what is counted, shown and alerted of."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pytest
import torch

import tiny
from bertserve.archives.packaging import package
from bertserve.clients.keys import bearer
from bertserve.clients.results import Prediction
from bertserve.errors import TextError
from bertserve.handler.settings import Settings
from bertserve.serving.config import read_config
from bertserve.serving.server import Server
from bertserve.serving.starting import start
from serving import PATIENCE, ROOT, free_ports, write_config

DEPLOY = ROOT / "deploy"
WITHOUT_A_GPU = {"GPU memory"}
# more than the queue of a version holds, and a batch
TOO_MANY = 400

Value = TypeVar("Value")


def until(look: Callable[[], Value], is_so: Callable[[Value], bool]) -> Value:
    """What is seen as soon as it is as wanted; the last that was seen if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not is_so(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return seen


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; scripts/tools prometheus does it")
    return path


def check(*arguments: str) -> None:
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Prometheus:
    """One that runs here."""

    url: str

    def get(self, path: str, **params: str) -> Any:
        response = httpx.get(
            f"{self.url}/api/v1/{path}", params=params, trust_env=False, timeout=PATIENCE
        )
        assert response.status_code == 200, (params, response.text)
        return response.json()["data"]

    def numbers(self, query: str) -> list[float]:
        """The values of a query now, without those that are none."""
        values = [float(each["value"][1]) for each in self.get("query", query=query)["result"]]
        return [value for value in values if not math.isnan(value)]

    def firing(self) -> set[tuple[str, str]]:
        """Alerts, each with its summary."""
        return {
            (alert["labels"]["alertname"], alert["annotations"]["summary"])
            for alert in self.get("alerts")["alerts"]
            if alert["state"] == "firing"
        }


@dataclass
class Counted:
    """What a worker has to have counted."""

    requests: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)
    predictions: list[Prediction] = field(default_factory=list)

    def add(self, code: str, outcomes: list[Prediction | TextError]) -> None:
        self.requests[code] += 1
        for outcome in outcomes:
            if isinstance(outcome, Prediction):
                self.texts["ok"] += 1
                self.predictions.append(outcome)
            else:
                self.texts[outcome.code] += 1


LONG = "good film " * 99
GOOD = [
    (["good film"], "ok"),
    (["awful", "the service was slow", "we loved it"], "ok"),
    ([LONG, "awful"], "ok"),
    (["good film", " ", LONG], "partial"),
]
BAD = [
    ('{"text": "cut off', "invalid_json"),
    ('{"text": "a", "temperature": 1}', "unknown_key"),
    ('{"text": " "}', "empty_text"),
    (f'{{"text": "{LONG}", "truncate": false}}', "text_too_long"),
]


def send(server: Server, sent: Counted) -> None:
    """Send requests of every sort, and note what is to be counted of them."""
    with server.client("tiny") as http, server.grpc_client("tiny") as grpc:
        for client in (http, http, grpc):
            for texts, code in GOOD:
                sent.add(code, client.classify(texts, details=True))
    headers = {"Content-Type": "application/json", **bearer(server.key("inference"))}
    with httpx.Client(
        base_url=server.addresses.inference, headers=headers, timeout=PATIENCE
    ) as raw:
        for times, (body, code) in enumerate(BAD, start=1):
            for _ in range(times):
                assert raw.post("/predictions/tiny", content=body).json()["error"]["code"] == code
                sent.add(code, [])
        unknown = raw.post("/explanations/tiny", content='{"text": "awful", "label": "x"}')
        assert unknown.status_code == 422
        sent.add("invalid_value", [])
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        broken = raw.post("/predictions/tiny", content=b"a=%zz", headers=form)
        assert broken.status_code == 500  # TorchServe's own, which no worker sees
        sent.texts["invalid_value"] += 1
    sent.texts["text_too_long"] = sent.requests["text_too_long"]  # known once its text was read


@pytest.fixture(scope="module")
def server(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("monitored")
    store = folder / "store"
    quick = Settings(precision="float32", token_budget=512)
    package(
        model_dir, name="tiny", version="1.0", output=store, workers=1, batch_size=8, settings=quick
    )
    server = start(read_config(write_config(folder)), store)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def prometheus(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It has our configuration, in a hurry."""
    command = [program("prometheus")]
    folder = tmp_path_factory.mktemp("prometheus")
    config = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    config = config.replace("127.0.0.1:8082", urlsplit(server.addresses.metrics).netloc)
    config = config.replace("127.0.0.1:8083", urlsplit(server.addresses.supervisor).netloc)
    (folder / "prometheus.yml").write_text(re.sub(r"(?m)interval: 15s$", "interval: 1s", config))
    alerts = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    alerts = re.sub(r"\[5m\]", "[10s]", alerts)
    (folder / "alerts.yml").write_text(re.sub(r"for: \w+", "for: 0s", alerts))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command += [f"--config.file={folder / 'prometheus.yml'}", f"--web.listen-address={address}"]
    command += [f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://{address}")

    def scrapes() -> bool:
        with suppress(httpx.TransportError, AssertionError):
            return prometheus.numbers("bertserve_batches_total") == [0]
        return False

    try:
        # counters increase when they are seen before and after
        assert until(scrapes, bool), (folder / "log").read_text()
        yield prometheus
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def sent(server: Server, prometheus: Prometheus) -> Counted:
    """What was sent before each test, when Prometheus has heard of all of it."""
    sent = Counted()
    for _ in range(2):  # TorchServe's counters are not there before they count
        send(server, sent)
        total = [sum(sent.requests.values())]
        heard = until(lambda: prometheus.numbers("sum(bertserve_requests_total)"), total.__eq__)
        assert heard == total
    return sent


def test_everything_is_counted_once(prometheus: Prometheus, sent: Counted) -> None:
    def by(label: str, metric: str) -> dict[str, float]:
        found = prometheus.get("query", query=metric)["result"]
        assert all(each["metric"]["model"] == "tiny" for each in found)
        assert all(each["metric"]["version"] == "1.0" for each in found)
        return {each["metric"].get(label, ""): float(each["value"][1]) for each in found}

    found = sent.predictions
    assert Counter(by("code", "bertserve_requests_total")) == sent.requests
    assert Counter(by("code", "bertserve_texts_total")) == sent.texts
    labels = Counter(next(iter(each.probabilities)) for each in found)
    assert by("label", "bertserve_labels_total") == {**dict.fromkeys(tiny.LABELS, 0), **labels}
    assert by("", "bertserve_truncated_texts_total") == {"": sum(bool(e.truncated) for e in found)}
    assert by("", "bertserve_tokens_total") == {"": sum(each.tokens or 0 for each in found)}
    assert by("", "bertserve_confidence_count") == {"": len(found)}
    assert by("", "bertserve_entropy_count") == {"": len(found)}
    confidences = [each.probability for each in found]
    total = pytest.approx(sum(confidences), abs=1e-4)
    assert by("", "bertserve_confidence_sum") == {"": total}
    for bound, texts in by("le", "bertserve_confidence_bucket").items():
        assert texts == sum(each <= float(bound) for each in confidences)
    assert prometheus.numbers("Requests5XX") == [2]


def queries() -> list[tuple[str, str]]:
    """Titles of the dashboard's panels, each with a query as Grafana would send it."""
    dashboard = json.loads((DEPLOY / "grafana" / "bertserve.json").read_text())
    variables = dict.fromkeys(("instance", "model", "version"), ".+")
    variables["__rate_interval"] = "5m"
    found = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = re.sub(r"\$(\w+)", lambda name: variables[name[1]], target["expr"])
            # there is no day before
            found.append((panel["title"], query.replace("offset 1d", "offset 3s")))
    return found


@pytest.mark.usefixtures("sent")
def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    def empty() -> set[str]:
        return {title for title, query in queries() if not prometheus.numbers(query)}

    expected = set() if torch.cuda.is_available() else WITHOUT_A_GPU
    assert until(empty, expected.__eq__) == expected


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "bertserve.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, place["y"] + y) for x in columns for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(columns) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    check("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    check("check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"))


def test_alerts_fire_when_they_should_and_not_before() -> None:
    cases = list((ROOT / "tests" / "alerts").glob("*.yml"))
    tested = {name for path in cases for name in re.findall(r'alertname="(\w+)"', path.read_text())}
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    assert tested == set(re.findall(r"- alert: (\w+)", rules))
    check("test", "rules", *map(str, cases))


@pytest.mark.usefixtures("sent")
def test_a_server_that_is_overloaded_and_one_that_ends_are_noticed(
    server: Server, prometheus: Prometheus
) -> None:
    """It ends the server, so it is the last test; first the supervisor, for it ends workers that hang."""
    [worker] = [worker["pid"] for model in server.status()["models"] for worker in model["workers"]]
    limits = httpx.Limits(max_connections=TOO_MANY)
    headers = {"Content-Type": "text/plain", **bearer(server.key("inference"))}
    url = f"{server.addresses.inference}/predictions/tiny"

    def post() -> None:
        with suppress(httpx.TransportError):  # TorchServe may reset the connection of a 503
            http.post(url, content=b"good film")

    fired: set[tuple[str, str]] = set()

    def watch() -> set[tuple[str, str]]:
        fired.update(prometheus.firing())
        return fired

    def watch_and_send() -> set[str]:
        pool.submit(post)
        return {alert for alert, _ in watch()}

    supervisor = server.supervisor()
    assert supervisor is not None
    supervisor.kill()
    without = ("BertserveDown", f"{urlsplit(server.addresses.supervisor).netloc} does not answer")
    assert without in until(watch, lambda seen: without in seen)

    with (
        httpx.Client(headers=headers, limits=limits, timeout=PATIENCE) as http,
        ThreadPoolExecutor(TOO_MANY) as pool,
    ):
        os.kill(worker, signal.SIGSTOP)
        try:
            for _ in range(TOO_MANY):
                pool.submit(post)
            expected = {"BertserveOverloaded", "BertserveServerErrors", "BertserveSilent"}
            assert until(watch_and_send, expected.issubset) >= expected
        finally:
            os.kill(worker, signal.SIGCONT)
    server.stop()
    instance = urlsplit(server.addresses.metrics).netloc
    down = ("BertserveDown", f"{instance} does not answer")
    assert down in until(watch, lambda seen: down in seen)
    assert ("BertserveSilent", f"no worker of tiny on {instance} answers") in fired
    share = re.compile(rf"{instance} turns away \d+(\.\d+)?% of what tiny is sent")
    assert any(
        alert == "BertserveOverloaded" and share.fullmatch(summary) for alert, summary in fired
    )
