"""What the pages state is what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from documents import ROOT, table
from handler.errors import STATUS_OF
from handler.settings import Settings

PAGES = [
    "README.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]


def test_the_table_of_error_codes_is_complete() -> None:
    documented = {code: int(cells[0]) for code, cells in table("docs/wire.md", "code").items()}
    assert documented == STATUS_OF


def test_the_table_of_settings_is_complete() -> None:
    documented = table("docs/packaging.md", "setting")
    assert set(documented) == {setting.name for setting in fields(Settings)}
    for setting in fields(Settings):
        option, default, allowed = documented[setting.name]
        assert option == f"`--{setting.name.replace('_', '-')}`"
        assert allowed == setting.metadata["allowed"]
        if setting.default is not None:
            assert default.strip("`").replace(",", "") == str(setting.default)


def test_the_tables_of_metrics_are_complete() -> None:
    declared = yaml.safe_load(
        (ROOT / "bertserve" / "serving" / "config" / "metrics.yaml").read_text()
    )
    dimensions = {
        metric["name"]: set(metric["dimensions"])
        for group in ("ts_metrics", "model_metrics")
        for metrics in declared[group].values()
        for metric in metrics
    }
    page = "docs/monitoring.md"
    rows = {**table(page, "metric"), **table(page, "metric of TorchServe")}
    documented = {metric: set(re.findall(r"`(\w+)`", row[0])) for metric, row in rows.items()}
    everywhere = {"model", "version", "Hostname"}
    assert documented == {metric: labels - everywhere for metric, labels in dimensions.items()}


def test_the_table_of_alerts_is_complete() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    documented = {alert: row[0] for alert, row in table("docs/monitoring.md", "alert").items()}
    assert documented == {rule["alert"]: rule["labels"]["severity"] for rule in alerts}
    for rule in alerts:
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_table_of_the_proxy_s_error_codes_is_complete() -> None:
    configuration = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text(encoding="utf-8")
    codes = re.findall(r"(?m)^        (\d{3}) (\w+);$", configuration)
    documented = table("docs/proxy.md", "code")
    assert set(codes) == {
        (status, code) for code, cells in documented.items() for status in cells[0].split(", ")
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


def test_extras_that_are_named_exist() -> None:
    """In pages, in messages, and where a message is made of a name."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"(?m)^(\w+) = \[", section))
    files = [ROOT / page for page in PAGES]
    for folder in ("bertserve", "handler", "deploy", "scripts"):
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    named = set()
    for path in files:
        text = path.read_bytes().decode(errors="replace") if path.suffix != ".so" else ""
        for found in re.findall(r"bertserve\[([\w, -]+)\]|extra_installed\(\"(.+?)\"\)", text):
            named |= {each.strip() for each in "".join(found).split(",")}
    assert named >= {"evaluate", "explain"}
    assert named <= extras


def test_every_page_is_named_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in readme


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*")))
def test_scripts_can_be_run(script: str) -> None:
    path = Path(ROOT / "scripts" / script)
    assert path.is_dir() or path.stat().st_mode & 0o111


def test_the_tests_that_the_page_on_security_names_are_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line.split("|")[3] for line in text.splitlines() if line.startswith("| ")]
    named = [row for row in rows if ".py`" in row]
    assert len(named) > 15
    for row in named:
        found = re.findall(r"`([\w/]+\.py|test_\w+)`", row)
        code = ""
        for name in found:
            if name.endswith(".py"):
                code = (ROOT / "tests" / name).read_text(encoding="utf-8")
            else:
                assert f"def {name}(" in code, name
