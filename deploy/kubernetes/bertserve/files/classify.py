"""A replica is ready, and a text gets probabilities: classify.py URL MODEL TOKENS.

TOKENS is a folder with a file for each caller; without a MODEL only readiness is asked for.
"""

import json
import ssl
import sys
import urllib.request
from pathlib import Path

url, model, tokens = sys.argv[1:]
token = (
    next(path for path in sorted(Path(tokens).iterdir()) if path.is_file()).read_text().split()[0]
)
# the certificate names the host that callers use, not that of the cluster
unnamed = ssl.create_default_context()
unnamed.check_hostname = False
unnamed.verify_mode = ssl.CERT_NONE


def ask(path: str, body: bytes | None = None) -> bytes:
    """What the gateway answers; an error where that is no success."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "text/plain"}
    request = urllib.request.Request(url + path, body, headers)
    with urllib.request.urlopen(request, timeout=60, context=unnamed) as answer:
        found: bytes = answer.read()
        return found


ask("/v2/health/ready")
if model:
    probabilities = json.loads(ask(f"/predictions/{model}", b"Does it work?"))
    assert probabilities
    assert all(0 <= each <= 1 for each in probabilities.values())
    sys.stdout.write(f"{json.dumps(probabilities)}\n")
