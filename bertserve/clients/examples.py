"""One request as a command, and as programs, to copy; none of them holds a key.

    snippets("http://127.0.0.1:8080", "support", None, ["Where is my parcel?"])["curl"]

The key is read from $KEY, where the server asks for one; Python on the server's machine finds it without.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from ..inputs import Input, Pair
from .results import to_wire


def snippets(
    url: str, model: str, version: str | None, texts: Sequence[Input], needs_key: bool = True
) -> dict[str, str]:
    """The request in curl, Python and JavaScript, by their names."""
    path = "/".join(quote(part, safe="") for part in (model, version) if part is not None)
    body = to_wire(texts[0]) if len(texts) == 1 else {"texts": [_short(text) for text in texts]}
    content = json.dumps(body, ensure_ascii=not _is_encodable(texts))
    where = f"{url}/predictions/{path}"
    return {
        "curl": _CURL.format(
            url=shlex.quote(where), key=_CURL_KEY if needs_key else "", body=shlex.quote(content)
        ),
        "Python": _python(model, version, texts),
        "JavaScript": _JAVASCRIPT.format(
            url=json.dumps(where), key=_JAVASCRIPT_KEY if needs_key else "", body=content
        ),
    }


def _python(model: str, version: str | None, texts: Sequence[Input]) -> str:
    of_version = f", version={version!r}" if version else ""
    asked = [_literal(text) for text in texts]
    one = asked[0] if len(asked) == 1 else f"[{', '.join(asked)}]"
    pair = "from bertserve import Pair\n" if any(isinstance(t, Pair) for t in texts) else ""
    shown = _ONE if len(texts) == 1 else _SEVERAL
    return f"{pair}{_PYTHON}".format(model=model, of_version=of_version) + shown.format(asked=one)


def _literal(text: Input) -> str:
    return f"Pair({text.text!r}, {text.text_pair!r})" if isinstance(text, Pair) else repr(text)


def _short(text: Input) -> str | dict[str, str]:
    return text if isinstance(text, str) else to_wire(text)


def _is_encodable(texts: Sequence[Input]) -> bool:
    try:
        "".join(part for text in texts for part in to_wire(text).values()).encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


_CURL = """\
curl {url} \\
{key}  --header "Content-Type: application/json" \\
  --data {body}
"""
_CURL_KEY = """\
  --header "Authorization: Bearer $KEY" \\
"""
_PYTHON = """\
from bertserve.serving import find

with find().client({model!r}{of_version}) as client:
"""
_ONE = """\
    prediction = client.classify({asked})
    print(prediction.label, prediction.probability)
"""
_SEVERAL = """\
    for prediction in client.classify_each({asked}):
        print(prediction.label, prediction.probability)
"""
_JAVASCRIPT = """\
const response = await fetch({url}, {{
  method: "POST",
  headers: {{
{key}    "Content-Type": "application/json",
  }},
  body: JSON.stringify({body}),
}});
console.log(await response.json());
"""
_JAVASCRIPT_KEY = """\
    "Authorization": `Bearer ${process.env.KEY}`,
"""
