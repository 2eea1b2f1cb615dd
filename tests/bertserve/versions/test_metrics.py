import contextlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from bertserve.errors import ServerError
from bertserve.versions.metrics import Metrics
from serving import http_server

TEXT = """\
# TYPE bertserve_requests_total counter
bertserve_requests_total{model="m",version="1",code="ok",Hostname="h",} 6.0
bertserve_requests_total{model="m",version="1",code="partial",Hostname="h",} 1.0
bertserve_requests_total{model="m",version="1",code="empty_text",Hostname="h",} 1.0
bertserve_requests_total{model="m",version="2",code="ok",Hostname="h",} 9.0
# TYPE bertserve_texts_total counter
bertserve_texts_total{model="m",version="1",code="ok",Hostname="h",} 10.0
bertserve_texts_total{model="m",version="1",code="empty_text",Hostname="h",} 2.0
# TYPE bertserve_tokens_total counter
bertserve_tokens_total{model="m",version="1",Hostname="h",} 70.0
# TYPE bertserve_truncated_texts_total counter
bertserve_truncated_texts_total{model="m",version="1",Hostname="h",} 1.0
# TYPE bertserve_step_seconds_total counter
bertserve_step_seconds_total{model="m",version="1",step="forward",Hostname="h",} 0.05
bertserve_step_seconds_total{model="m",version="1",step="wire",Hostname="h",} 9.0
# TYPE bertserve_confidence_sum counter
bertserve_confidence_sum{model="m",version="1",Hostname="h",} 9.0
# TYPE bertserve_entropy_sum counter
bertserve_entropy_sum{model="m",version="1",Hostname="h",} 2.0
# TYPE bertserve_labels_total counter
bertserve_labels_total{model="m",version="1",label="a b",Hostname="h",} 4.0
bertserve_labels_total{model="m",version="1",label="c",Hostname="h",} 6.0
bertserve_labels_total{model="m",version="1",label="d",Hostname="h",} 0.0
# TYPE Requests5XX counter
Requests5XX{Level="Host",Hostname="h",} 3.0
# TYPE Requests2XX counter
Requests2XX{Level="Host",Hostname="h",} 7.0
"""


@contextlib.contextmanager
def showing(text: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if text else 405)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as url:
        yield url


def test_what_a_version_did_is_read() -> None:
    with showing(TEXT) as address:
        found = Metrics(address).observed("m", "1")
    assert (found.version, found.requests, found.texts) == ("1", 8, 10)
    assert found.failed == pytest.approx(1 / 8)
    assert (found.tokens, found.truncated) == (7, 0.1)
    assert found.milliseconds == pytest.approx(5)
    assert (found.confidence, found.entropy) == (0.9, 0.2)
    assert found.labels == {"a b": 0.4, "c": 0.6}


def test_a_version_that_did_nothing_divides_by_nothing() -> None:
    with showing(TEXT) as address:
        found = Metrics(address).observed("m", "3")
    assert (found.requests, found.failed, found.confidence, found.labels) == (0, 0, 0, {})


def test_the_share_of_failed_requests_is_since_then() -> None:
    with showing(TEXT) as address:
        before = Metrics(address)
    later = TEXT.replace('{Level="Host",Hostname="h",} 3.0', '{Level="Host",Hostname="h",} 4.0')
    later = later.replace('{Level="Host",Hostname="h",} 7.0', '{Level="Host",Hostname="h",} 10.0')
    with showing(later) as address:
        assert Metrics(address).failed_since(before) == 0.25
        assert Metrics(address).failed_since(Metrics(address)) == 0


def test_texts_that_fail_by_no_caller_s_fault_are_those_of_the_version() -> None:
    with showing(TEXT) as address:
        before = Metrics(address)
    one = 'bertserve_texts_total{model="m",version="1",code='
    later = TEXT.replace(f'{one}"ok",Hostname="h",}} 10.0', f'{one}"ok",Hostname="h",}} 13.0')
    later = later.replace(f'{one}"empty_text",Hostname="h",}} 2.0', f'{one}"empty_text",}} 3.0')
    later += f'{one}"model_output_invalid",}} 1.0\n'
    with showing(later) as address:
        now = Metrics(address)
    assert now.serious_since(before, "m", "1") == pytest.approx(1 / 5)
    assert now.serious_since(before, "m", "2") == 0


def test_a_server_without_metrics_is_an_error() -> None:
    with showing("") as address, pytest.raises(ServerError, match="metrics_mode=prometheus"):
        Metrics(address)
    with pytest.raises(ServerError, match="shows no metrics"):
        Metrics(address)
