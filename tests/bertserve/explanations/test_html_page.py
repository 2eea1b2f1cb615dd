from __future__ import annotations

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Literal

import pytest
from rich.color import ColorSystem
from rich.console import Console

from bertserve import Explanation, Pair, Word
from bertserve.cli import explain as explaining
from bertserve.explanations import page, parts, remark

FOUND = Explanation(
    label="track_order",
    probability=0.9931,
    logit=8.125,
    baseline_logit=1.0,
    completeness_gap=0.0625,
    tokens=7,
    truncated=True,
    words=(
        Word("Where", 0, 5, 1.0),
        Word("is", 6, 8, -2.0),
        Word("my", 9, 11, 0.0),
        Word("parcel", 12, 18, 4.0),
        Word("?", 18, 19, 0.5),
    ),
    model="support",
    version="1.0",
)
TEXT = "Where is my parcel? (cut)"


class Read(HTMLParser):
    """The text of a page and the attributes of its tags; an unclosed tag is noticed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_strongest_words_come_first_whatever_they_speak_for() -> None:
    assert [word.word for word in FOUND.strongest] == ["parcel", "is", "Where", "?", "my"]


def test_parts_are_the_whole_text() -> None:
    found = list(parts(TEXT, "text", FOUND))
    assert "".join(part for part, _ in found) == TEXT
    strengths = {part: strength for part, strength in found if strength}
    assert strengths == {"Where": 0.25, "is": -0.5, "parcel": 1.0, "?": 0.125}


@pytest.mark.parametrize("words", [(), (Word("Where", 0, 5, 0.0),)])
def test_parts_of_a_text_that_nothing_carries(words: tuple[Word, ...]) -> None:
    found = list(parts(TEXT, "text", replace(FOUND, words=words)))
    assert "".join(part for part, _ in found) == TEXT
    assert {strength for _, strength in found} == {0.0}


def test_a_page_shows_the_text_its_words_and_their_figures() -> None:
    read = Read(page(TEXT, FOUND))
    assert TEXT in read.text
    for figure in (
        "0.9931",
        "8.125",
        "1.000",
        "0.062",
        "+4.000",
        "-2.000",
        "support 1.0",
        "7 tokens",
    ):
        assert figure in read.text
    assert "the text was cut" in read.text
    coloured = [(a["class"], a["style"]) for tag, a in read.tags if tag == "span"]
    assert coloured == [
        ("word for", "--strength: 0.250"),
        ("word against", "--strength: 0.500"),
        ("word for", "--strength: 1.000"),
        ("word for", "--strength: 0.125"),
    ]


def test_a_page_of_a_pair_shows_both_texts() -> None:
    words = (Word("Hi", 0, 2, 1.0), Word("ho", 0, 2, -1.0, "text_pair"))
    read = Read(page(Pair("Hi!", "ho?"), replace(FOUND, words=words)))
    assert "Hi!" in read.text
    assert "ho?" in read.text
    assert "text_pair" in read.text
    assert "text_pair" not in Read(page("Hi!", replace(FOUND, words=words[:1]))).text


def test_a_page_runs_nothing_of_a_caller_s_and_fetches_nothing() -> None:
    evil = "<script>alert(1)</script>\"'&$label${rows}"
    words = (Word(evil, 0, len(evil), 1.0),)
    found = replace(FOUND, label=evil, model=evil, version=evil, words=words)
    html = page(evil, found)
    read = Read(html)
    assert "script" not in {tag for tag, _ in read.tags}
    assert read.text.count(evil) == 6  # title, heading, text, table, and twice at the foot
    assert "http:" not in html
    assert "https:" not in html
    assert {tag for tag, attrs in read.tags if {"src", "href"} & set(attrs)} == set()


def shown(
    text: str | Pair,
    found: Explanation,
    colours: bool,
    width: int = 80,
    system: Literal["standard", "256", "truecolor"] = "truecolor",
) -> str:
    file = io.StringIO()
    console = Console(
        file=file,
        force_terminal=colours,
        color_system=system if colours else None,
        width=width,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explaining, "out", console)
        explaining.show(text, found)
    return file.getvalue()


def test_a_terminal_shows_words_in_colours() -> None:
    printed = shown(TEXT, FOUND, colours=True)
    assert "\x1b[30;48;2;0;235;0mparcel\x1b[0m" in printed
    assert "\x1b[30;48;2;255;118;118mis\x1b[0m" in printed
    assert "my\x1b[0m" not in printed


def test_sixteen_colours_are_green_and_red_and_no_other() -> None:
    """Pale shades would become the nearest of the 16: white, black or yellow."""
    words = tuple(Word("x", n, n + 1, (n - 20) / 20) for n in range(41))
    found = replace(FOUND, words=words)
    line = shown("x" * 41, found, colours=True, system="standard").splitlines()[1]
    codes = re.findall(r"\x1b\[([\d;]+)mx+\x1b\[0m", line)
    assert set(codes) == {"30;42", "32", "30;41", "31"}
    assert codes == sorted(codes, key=["30;41", "31", "32", "30;42"].index)


@pytest.mark.parametrize("strength", [n / 10 for n in range(-10, 11)])
def test_shades_of_256_colours_keep_their_hue(strength: float) -> None:
    ground = explaining.style(strength, "256").bgcolor
    if not strength:
        assert ground is None
        return
    assert ground is not None
    red, green, _ = ground.downgrade(ColorSystem.EIGHT_BIT).get_truecolor()
    assert (green > red) == (strength > 0)


def test_what_a_terminal_shows_can_be_read_without_colours() -> None:
    lines = shown(TEXT, FOUND, colours=False).splitlines()
    assert "\x1b" not in "".join(lines)
    assert lines[:3] == ["track_order 0.9931", TEXT, ""]
    rows = [line.split() for line in lines[4:9]]
    assert [row[:2] for row in rows] == [
        ["parcel", "+4.000"], ["is", "-2.000"], ["Where", "+1.000"], ["?", "+0.500"], ["my", "+0.000"],
    ]  # fmt: skip
    assert [len(row[2]) if len(row) > 2 else 0 for row in rows] == [20, 10, 5, 2, 0]
    assert "support 1.0, 7 tokens, cut; logit 8.125, 1.000 without words, gap 0.062" in lines[-1]


def test_a_terminal_shows_both_texts_of_a_pair_and_no_markup_of_theirs() -> None:
    words = (Word("[b]Hi[/b]", 0, 9, 1.0), Word("ho", 0, 2, -1.0, "text_pair"))
    found = replace(FOUND, label="[red]x", words=words)
    lines = shown(Pair("[b]Hi[/b]", "ho"), found, colours=False).splitlines()
    assert lines[:4] == ["[red]x 0.9931", "[b]Hi[/b]", "ho", ""]
    assert lines[5].split()[:3] == ["[b]Hi[/b]", "text", "+1.000"]
    assert lines[6].split()[:3] == ["ho", "text_pair", "-1.000"]


def test_words_that_carry_next_to_nothing_look_so() -> None:
    words = tuple(replace(word, attribution=word.attribution / 1000) for word in FOUND.words)
    faint = replace(FOUND, words=words, logit=1.0035, completeness_gap=0.0)
    assert max(abs(strength) for _, strength in parts(TEXT, "text", faint)) == 0.004 / 0.5
    assert remark(faint) == (
        "Together the words move the logit by +0.0035: none of them carries this prediction."
    )
    assert "none of them carries this prediction" in Read(page(TEXT, faint)).text
    assert remark(FOUND) is None
    assert "carries this prediction" not in Read(page(TEXT, FOUND)).text


def test_figures_that_miss_the_change_are_no_explanation() -> None:
    assert "they say nothing" in (remark(replace(FOUND, completeness_gap=5.0)) or "")
