"""Run in an environment that has the kserve package: `kserve_classes.py OBJECTS` says what is wrong.

Objects are JSON. The package's classes were generated from KServe's own types: every field must be one of
its class, and of that type.
"""

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import kserve.models  # type: ignore[import-not-found]
import kubernetes.client.models  # type: ignore[import-not-found]

_PLAIN = {"str": str, "int": int, "bool": bool, "object": object}


def wrong(value: Any, kind: str, where: str) -> Iterator[str]:
    """What of a value is not as a type of the classes has it."""
    if inner := re.fullmatch(r"[Ll]ist\[(.+)\]|dict\(str, (.+)\)|Dict\[str, (.+)\]", kind):
        of = inner[1] or inner[2] or inner[3]
        if inner[1] and isinstance(value, list):
            value = dict(enumerate(value))
        elif inner[1] or not isinstance(value, dict):
            yield f"{where} is no {kind}"
            return
        for key, each in value.items():
            yield from wrong(each, of, f"{where}.{key}")
    elif kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]):
            yield f"{where} is no {kind}"
    elif found := _class(kind):
        if not isinstance(value, dict):
            yield f"{where} is no object"
            return
        names = {name: attribute for attribute, name in found.attribute_map.items()}
        for key, each in value.items():
            if key in names:
                yield from wrong(each, found.openapi_types[names[key]], f"{where}.{key}")
            else:
                yield f"{where} has no {key}"
    elif not kind.endswith(("Quantity", "IntOrString")):
        yield f"{where}: nobody knows what a {kind} is"


def _class(kind: str) -> Any:
    return getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, kind, None)


def main() -> None:
    """Say it in a line each."""
    for each in json.loads(sys.argv[1]):
        version = each["apiVersion"].rpartition("/")[2].capitalize()
        for said in wrong(each, f"{version}{each['kind']}", each["kind"]):
            sys.stdout.write(f"{said}\n")


if __name__ == "__main__":
    main()
