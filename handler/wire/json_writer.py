"""Answers as JSON bytes: compact UTF-8, every number to its last bit.

orjson writes them where the server has it; an archive must be served without, so the standard library
stands in, ten times slower. Both write the same values.
"""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:
    WRITER = "json"
else:
    WRITER = "orjson"


def to_json(value: Any) -> bytes:
    """The value as JSON; whole characters only, so callers check what they repeat of a request."""
    if WRITER == "orjson":
        return orjson.dumps(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
