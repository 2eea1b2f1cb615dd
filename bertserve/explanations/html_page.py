"""Which words carried a prediction, as a page of HTML that needs nothing else.

with Client("support", key_file="key_file.json") as client:
    Path("why.html").write_text(page(text, client.explain(text)), encoding="utf-8")
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from string import Template

from ..clients import Explanation, Word
from ..inputs import Input
from .words import parts, remark

_LISTED = 20

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$label</title>
<style>
:root { color-scheme: light dark; --for: 34 160 90; --against: 215 60 60; }
body { font: 1rem/1.7 system-ui, sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; line-height: 1.3; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.text + .text { border-top: 1px solid rgb(128 128 128 / .5); padding-top: 1rem; }
.for { background: rgb(var(--for) / calc(var(--strength) * .75)); }
.against { background: rgb(var(--against) / calc(var(--strength) * .75)); }
.word { border-radius: .25rem; padding: .1rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; overflow-wrap: anywhere; }
td:last-child, th:last-child { text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }
footer { font-size: .875rem; opacity: .8; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>$label <small>$probability</small></h1>
$remark
$texts
<table>
<tr><th>word</th>$of<th>adds to the logit</th></tr>
$rows
</table>
<footer>
<p>Green words speak for this label, red ones against it. The logit is $logit, and $baseline where all
words are padding; the words sum to the difference within $gap. $model, $tokens tokens$cut.</p>
</footer>
</body>
</html>
""")


def page(text: Input, explanation: Explanation) -> str:
    """The text with its words coloured, and the strongest ones in a table."""
    is_pair = not isinstance(text, str)
    texts = (
        {"text": text}
        if isinstance(text, str)
        else {"text": text.text, "text_pair": text.text_pair}
    )
    listed = explanation.strongest[:_LISTED]
    return _PAGE.substitute(
        label=escape(explanation.label),
        probability=f"{explanation.probability:.4f}",
        texts="\n".join(
            f'<p class="text">{"".join(_coloured(content, of, explanation))}</p>'
            for of, content in texts.items()
        ),
        remark=f"<p>{escape(said)}</p>" if (said := remark(explanation)) else "",
        of="<th>of</th>" if is_pair else "",
        rows="\n".join(_row(word, is_pair) for word in listed),
        logit=f"{explanation.logit:.3f}",
        baseline=f"{explanation.baseline_logit:.3f}",
        gap=f"{explanation.completeness_gap:.3f}",
        model=escape(f"{explanation.model} {explanation.version}"),
        tokens=explanation.tokens,
        cut=", the text was cut" if explanation.truncated else "",
    )


def _coloured(text: str, of: str, explanation: Explanation) -> Iterator[str]:
    for part, strength in parts(text, of, explanation):
        if not strength:
            yield escape(part)
            continue
        kind = "for" if strength > 0 else "against"
        yield (
            f'<span class="word {kind}" style="--strength: {abs(strength):.3f}" '
            f'title="{strength:+.0%} of full strength">{escape(part)}</span>'
        )


def _row(word: Word, is_pair: bool) -> str:
    of = f"<td>{escape(word.of)}</td>" if is_pair else ""
    return f"<tr><td>{escape(word.word)}</td>{of}<td>{word.attribution:+.3f}</td></tr>"
