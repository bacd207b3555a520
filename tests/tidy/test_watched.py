"""What Grafana and Prometheus ask for exists, and every alert says what to do."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import app.main
import app.operations.watching
import app.worker  # noqa: F401 - metrics register when their module is imported

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ADMINISTRATOR = (ROOT / "docs" / "administrator.md").read_text(encoding="utf-8")
COMPOSITION: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "wattgate-alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))["panels"]
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]


def known_series() -> set[str]:
    suffixes = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_sum", "_count"),
        "gauge": ("",),
    }
    return {family.name + suffix for family in REGISTRY.collect() for suffix in suffixes.get(family.type, ())}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_expression_asks_for_figures_that_exist(expression: str) -> None:
    asked = set(re.findall(r"\b(wattgate_\w+)", expression))
    assert asked or "up{" in expression
    assert asked <= known_series()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_each_alert_speaks_both_languages_and_has_its_section(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    for english in ("summary", "description"):
        assert notes[english].isascii()
        assert re.search(r"[\u4e00-\u9fff]", notes[f"{english}_zh"])
    assert notes["runbook_url"] == f"docs/administrator.md#{rule['alert'].lower()}"
    assert f"### {rule['alert']}\n" in ADMINISTRATOR


def test_no_section_is_for_an_alert_that_is_gone() -> None:
    sections = set(re.findall(r"^### (Wattgate\w+)$", ADMINISTRATOR, flags=re.MULTILINE))
    assert sections == {rule["alert"] for rule in ALERTS}


def test_prometheus_asks_services_of_the_composition() -> None:
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    jobs = {job["job_name"] for job in scraped}
    hosts = {
        target.split(":")[0] for job in scraped for entry in job["static_configs"] for target in entry["targets"]
    }
    assert hosts <= set(COMPOSITION["services"])
    for rule in ALERTS:
        assert set(re.findall(r'job="([\w-]+)"', rule["expr"])) <= jobs


def test_every_file_and_secret_that_the_composition_names_is_there_or_explained() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    for service in COMPOSITION["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./deploy/") and "secrets" not in source:
                assert (ROOT / source).is_file()
        for secret in service.get("secrets", []):
            assert Path(COMPOSITION["secrets"][secret]["file"]).name in readme.replace("{", "").replace("}", "")


def test_a_change_of_keys_gives_the_old_key_to_the_services_that_sign() -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    beside = yaml.safe_load((DEPLOY / "key-change.yml").read_text(encoding="utf-8"))
    assert set(beside["services"]) == {"service", "worker", "worker-2"} <= set(COMPOSITION["services"])
    for service in beside["services"].values():
        for secret in service["secrets"]:
            assert service["environment"]["WATTGATE_PREVIOUS_SIGNING_KEY_FILE"] == f"/run/secrets/{secret}"
            assert Path(beside["secrets"][secret]["file"]).name in readme
