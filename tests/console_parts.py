"""Walks through the parts of the console, as a person goes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import tiny
from consoles import Visitor, check

if TYPE_CHECKING:
    from playwright.sync_api import Page

AS_BEFORE = {"1.0": True}
MARKUP = 'a good film <img src=x onerror="document.title=1"><script>document.title=2</script>'


def label_all(path: Path) -> Path:
    """A file of texts of which some must be mistakes, for each has every label in turn."""
    texts = [*tiny.TEXTS[:4], MARKUP, *(f"{word} film" for word in tiny.WORDS)]
    rows = [{"text": text, "label": label} for text in texts for label in tiny.LABELS]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def walk_through(visitor: Visitor, width: int, scheme: str, labelled: Path) -> None:
    """Every part, used and checked."""
    walks: dict[str, Callable[[Page], None]] = {
        "try": try_texts,
        "models": models,
        "traffic": traffic,
        "quality": lambda page: quality(page, labelled),
        "rollout": rollout,
        "api": api,
    }
    for part, walk in walks.items():
        with visitor.page(part, width, scheme) as page:
            walk(page)
            check(page)
            assert "bertserve" in page.title()


def try_texts(page: Page) -> None:
    page.get_by_label("Text", exact=True).fill(MARKUP)
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("The same request").wait_for()
    assert page.locator(".bars li").count() == len(tiny.LABELS)
    assert MARKUP[:20] in page.locator("pre").inner_text()
    page.get_by_label("Python").check()
    assert "find().client('tiny'" in page.locator("pre").inner_text()
    page.get_by_role("button", name="Which words").click()
    page.get_by_role("region", name="Words that carried").wait_for()
    check(page)
    # which words are strong, which is written for those who do not see it, is the tiny model's affair
    read = (
        "each => (each.querySelectorAll('.unseen').forEach(one => one.remove()), each.textContent)"
    )
    assert page.locator(".coloured").evaluate(read) == MARKUP
    page.get_by_label("Several, one a line").check()
    page.get_by_label("Texts", exact=True).fill(f"good film\n\n{MARKUP}")
    page.get_by_role("button", name="Classify").click()
    page.get_by_role("heading", name="2 texts").wait_for()
    assert page.locator("td").nth(2).inner_text() == MARKUP


def models(page: Page) -> None:
    page.get_by_role("heading", name="tiny 1.0").wait_for()
    assert "1 of 1 ready" in page.locator("article").first.inner_text()
    assert "default" in page.locator("article").first.inner_text()
    page.locator("summary", has_text="Labels").first.click()
    page.get_by_text("positive, negative, neutral").first.wait_for()


def traffic(page: Page) -> None:
    page.get_by_role("heading", name="tiny 1.0").wait_for()
    page.locator(".curve svg").first.wait_for()
    assert page.locator(".tiles li").first.inner_text().startswith("requests")


def quality(page: Page, labelled: Path) -> None:
    page.get_by_label("Drop a labelled file").set_input_files(labelled)
    page.get_by_role("heading", name="Mistakes").wait_for()
    rows = [json.loads(line) for line in labelled.read_text().splitlines()]
    assert page.locator(".tiles li").first.inner_text().split()[-1] == str(len(rows))
    choices = page.get_by_label("Which").locator("option")
    shown = choices.nth(1).inner_text()
    page.get_by_label("Which").select_option(index=1)
    page.get_by_text(f"{shown.rsplit('(')[-1][:-1]} texts, the worst first").wait_for()
    page.locator(".mistakes summary").first.click()
    page.locator(".mistakes .words").nth(1).wait_for()
    report = page.frame_locator("iframe.report")
    report.get_by_role("heading", name="tiny 1.0").first.wait_for()
    page.get_by_label("Which").select_option(index=0)
    page.locator(".mistakes .text", has_text=MARKUP).first.wait_for()


def rollout(page: Page) -> None:
    page.get_by_role("heading", name="Next version").wait_for()
    page.get_by_role("heading", name="What is served").wait_for()
    assert "tiny 2.0" in page.get_by_label("Archive").inner_text()


def api(page: Page) -> None:
    page.get_by_role("heading", name="/v2/models/tiny/infer").wait_for()
    page.locator("summary", has_text="Body").first.click()
    page.locator("summary", has_text="Answers").first.click()
    page.get_by_text("answer_too_large").first.wait_for()


def begin(page: Page, watch: int) -> None:
    """Roll out, however slow this machine is at the moment."""
    page.get_by_label("Watch for").fill(str(watch))
    page.get_by_label("Slowdown").fill("1000")
    page.get_by_role("button", name="Roll out", exact=True).click()


def watched(page: Page) -> None:
    page.get_by_text("watching 2.0").wait_for()
