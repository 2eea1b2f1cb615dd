"""Command: explain."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.color import Color
from rich.style import Style
from rich.table import Table
from rich.text import Text

from .. import serving
from ..clients import Explanation
from ..explanations import full_strength, page, parts, remark
from ..inputs import Input, Pair
from .app import AsJson, ConfigFile, Name, app, out
from .printing import print_json

_LISTED = 10
_BAR = 20
_STRONG = 0.5  # strength from which on a word has a ground of its colour where there are 16


@app.command()
def explain(
    name: Name,
    text: Annotated[str, typer.Argument(help="The text.")],
    pair: Annotated[
        str | None, typer.Option(help="Second text of a pair.", show_default=False)
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Label to explain; the predicted one if not given.", show_default=False),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version; the default one if not given.", show_default=False)
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(help="Tokens to read; fewer are explained faster.", show_default=False),
    ] = None,
    grpc: Annotated[bool, typer.Option("--grpc", help="Over gRPC instead of HTTP.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page of HTML here too.", show_default=False)
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show which words carried a prediction: coloured on a terminal, JSON in a pipe."""
    server = serving.find(config)
    asked: Input = text if pair is None else Pair(text, pair)
    connect = server.grpc_client if grpc else server.client
    with connect(name, version=version) as client:
        found = client.explain(asked, label, max_length=max_length)
    if html is not None:
        html.write_text(page(asked, found), encoding="utf-8")
    if as_json or not out.is_terminal:
        print_json(asdict(found))
    else:
        show(asked, found)


def show(text: Input, found: Explanation) -> None:
    """The text with its words coloured, and below it the strongest ones for who sees no colours."""
    title = Text.assemble((found.label, "bold"), f" {found.probability:.4f}")
    out.print(title, soft_wrap=True)
    texts = [text] if isinstance(text, str) else [text.text, text.text_pair]
    for of, content in zip(("text", "text_pair"), texts, strict=False):
        coloured = (
            (part, style(strength, out.color_system))
            for part, strength in parts(content, of, found)
        )
        out.print(Text.assemble(*coloured))
    out.print()
    is_pair = not isinstance(text, str)
    most = full_strength(found)
    table = Table(box=None, pad_edge=False)
    for column in ("word", *(["of"] if is_pair else []), "adds to the logit", ""):
        table.add_column(column, justify="right" if column.startswith("adds") else "left")
    for word in found.strongest[:_LISTED]:
        bar = "█" * round(abs(word.attribution) / most * _BAR)
        colour = "green" if word.attribution > 0 else "red"
        of_cells = [Text(word.of)] if is_pair else []
        table.add_row(Text(word.word), *of_cells, f"{word.attribution:+.3f}", Text(bar, colour))
    out.print(table)
    if said := remark(found):
        out.print(said, soft_wrap=True, highlight=False, style="yellow")
    cut = ", cut" if found.truncated else ""
    note = (
        f"{found.model} {found.version}, {found.tokens} tokens{cut}; logit {found.logit:.3f}, "
        f"{found.baseline_logit:.3f} without words, gap {found.completeness_gap:.3f}"
    )
    out.print(Text(note, "dim"), soft_wrap=True)


def style(strength: float, colours: str | None = None) -> Style:
    """Black on green for a word that speaks for the label, on red against it: paler for weaker ones.

    colours   what the terminal has, as Console.color_system; of 16, pale ones would be another's
    """
    if round(abs(strength), 1) == 0:
        return Style()
    if colours in ("standard", "windows"):
        colour = "green" if strength > 0 else "red"
        strong = abs(strength) >= _STRONG
        return Style(color="black", bgcolor=colour) if strong else Style(color=colour)
    palest = 190 if colours == "256" else 235  # of 256, what is paler would be white
    pale = round(palest * (1 - abs(strength)))
    red, green, blue = (pale, 235, pale) if strength > 0 else (255, pale, pale)
    return Style(color="black", bgcolor=Color.from_rgb(red, green, blue))
