import pytest

from benchmark.load import enough_seconds, parse

OUTPUT = """\
Running 5s test @ http://127.0.0.1:8080/predictions/banking77
  1 threads and 64 connections
Requests/sec:    240.00
Transfer/sec:      1.20MB
{"seconds": 5.000000, "responses": 1200, "p50_ms": 250.5, "p99_ms": 400.25, \
"refused": 200, "connect": 1, "read": 2, "write": 3, "timeout": 4}
"""


def test_only_successful_answers_count() -> None:
    load = parse(OUTPUT)
    assert load.requests_per_second == 200
    assert load.errors == 210
    assert (load.p50_ms, load.p99_ms) == (250.5, 400.25)


def test_output_without_our_line_is_an_error() -> None:
    with pytest.raises(ValueError, match="Expecting value"):
        parse("unable to connect to 127.0.0.1:8080 Connection refused\n")


def test_a_slow_server_is_measured_longer_but_not_for_ever() -> None:
    assert enough_seconds(5, 64, 1_000) == 5
    assert enough_seconds(5, 64, 10) == 13
    assert enough_seconds(5, 256, 1) == 30
    assert enough_seconds(5, 256, 0) == 30
    assert enough_seconds(60, 256, 1) == 60
