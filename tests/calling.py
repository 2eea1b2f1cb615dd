"""Calls that schemathesis makes of an OpenAPI document, to a running server."""

from __future__ import annotations

from collections import Counter
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

from bertserve.clients.keys import bearer
from bertserve.serving.server import Server
from serving import PATIENCE

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def call_as_documented(server: Server, document: dict[str, Any], cases: int) -> Counter[int]:
    """Good and bad calls of every path, so many in all; answers by status, all as documented.

    Half of them are wrong on purpose.
    """
    schema = schemathesis.openapi.from_dict(document)
    found: list[Any] = list(schema.get_all_operations())
    operations = [each.ok() for each in found]
    seen: Counter[int] = Counter()
    for operation in operations:
        good, wrong = (
            operation.as_strategy(generation_mode=mode)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        )

        @settings(
            max_examples=-(-cases // len(operations)),
            phases=[Phase.generate],
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(good, wrong))
        def call(case: Any) -> None:
            response = case.call(
                base_url=server.addresses.inference,
                headers=bearer(server.key("inference")),
                timeout=PATIENCE,
            )
            case.validate_response(response, checks=CHECKS)
            seen[response.status_code] += 1

        call()
    return seen
