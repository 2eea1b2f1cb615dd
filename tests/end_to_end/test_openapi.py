"""The document of a served model, and the server that must do as it says."""

from __future__ import annotations

import json

import pytest
from schemathesis.core.failures import FailureGroup

from bertserve import openapi
from calling import call_as_documented
from commands import run
from serving import Served


def test_the_command_prints_the_document(served: Served) -> None:
    done = run("openapi", "tiny", "--config", served.config)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["openapi"] == "3.1.0"
    assert found["servers"] == [{"url": served.server.addresses.inference}]
    labels = found["components"]["schemas"]["Label"]["enum"]
    assert labels == served.tiny.pipeline.labels
    refused = run("openapi", "nobody", "--config", served.config)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "no model nobody is served" in refused.stderr


def test_the_server_answers_as_documented(served: Served) -> None:
    """Two thousand calls more are made by long/test_openapi_clients.py."""
    seen = call_as_documented(served.server, openapi.served(served.server, "tiny"), 200)
    assert min(seen[200], seen[422]) > 20


def test_an_answer_that_is_not_documented_is_noticed(served: Served) -> None:
    document = openapi.served(served.server, "tiny")
    document["components"]["schemas"]["Label"]["enum"] = ["another"]
    document["components"]["schemas"]["Probabilities"]["properties"] = {}
    with pytest.raises(FailureGroup, match="violates schema"):
        call_as_documented(served.server, document, 200)
