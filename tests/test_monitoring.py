"""docs/monitoring: its table is the code's, its rules work, and all they name is exported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.delivery.metrics import INSTRUMENTS, Instrument
from tests.cli.commands import SETTINGS
from tests.servers import ROOT

PAGE = (ROOT / "docs/monitoring.md").read_text()
FOLDER = ROOT / "docs/monitoring"
TESTS = ["bridge.rules.test.yml", "bridge.rules.week.test.yml"]
RULES = (FOLDER / "bridge.rules.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana.json").read_text())


def write_row(each: Instrument) -> str:
    attributes = ", ".join(f"`{name}`" for name in each.attributes)
    unit = each.unit.strip("{}")
    return f"| `{each.name}` | {each.kind} | {unit} | {attributes} | {each.meaning} |"


def list_series(each: Instrument) -> set[str]:
    """Prometheus' names for it, as opentelemetry-exporter-prometheus 0.66b2 wrote them."""
    name = each.name.replace(".", "_") + ("_seconds" if each.unit == "s" else "")
    if each.kind == "histogram":
        return {f"{name}_{part}" for part in ("bucket", "sum", "count")}
    return {f"{name}_total" if each.kind == "counter" else name}


EXPORTED = {series: each for each in INSTRUMENTS for series in list_series(each)}
RECORDED = set(re.findall(r"record: (\S+)", RULES))


def find_expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["expr"]] if isinstance(value.get("expr"), str) else []
        return own + [each for inner in value.values() for each in find_expressions(inner)]
    return (
        [each for item in value for each in find_expressions(item)]
        if (isinstance(value, list))
        else []
    )


def promtool(*args: str | Path) -> str:
    result = subprocess.run(
        ["promtool", *args], capture_output=True, text=True, check=False, cwd=FOLDER
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_table_is_that_of_the_code() -> None:
    table = PAGE.partition("<!-- metrics -->")[2].partition("<!-- /metrics -->")[0].strip()
    head = ["| Name | Kind | Unit | Attributes | What it is |", "|---|---|---|---|---|"]
    assert table.splitlines() == head + [write_row(each) for each in INSTRUMENTS]


def test_names_stand_in_no_other_table() -> None:
    """One table: a second one would say something else some day."""
    readme = (ROOT / "README.md").read_text()
    assert "bridge.events.stored" not in readme


def test_set_up_of_the_page_runs() -> None:
    """With a stand-in for the exporter, which is no dependency of ours."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    program = f"""
import sys, types
from starlette.applications import Starlette
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
exporter, client = types.ModuleType("exporter"), types.ModuleType("client")
exporter.PrometheusMetricReader = InMemoryMetricReader
client.make_asgi_app = Starlette
sys.modules["opentelemetry.exporter.prometheus"] = exporter
sys.modules["prometheus_client"] = client
app = Starlette()
{code}
assert [route.path for route in app.routes] == ["/metrics"]
assert bridge._visits._is_excluded("/metrics")
from bridge.delivery.metrics import Metrics
found = Metrics(["meta:1"])
found.publish()
print(found.is_published)
"""
    command = [sys.executable, "-c", program]
    environ = {**os.environ, **SETTINGS}
    result = subprocess.run(
        command, cwd=ROOT, env=environ, check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    printed = result.stdout
    assert printed.split() == ["True"]


def test_rules_are_rules_and_alert_when_they_should() -> None:
    promtool("check", "rules", "--lint-fatal", "bridge.rules.yml")
    promtool("test", "rules", *TESTS)


def test_every_alert_is_tested() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES))
    text = "".join((FOLDER / name).read_text() for name in TESTS)
    tested = re.findall(r"alertname: (\w+)\s+exp_alerts:\s+- ", text)
    assert alerts == set(tested)


@pytest.mark.parametrize("file", ["bridge.rules.yml", *TESTS, "grafana.json"])
def test_every_metric_they_name_is_exported(file: str) -> None:
    text = re.sub(r"bridge\.rules(\.week)?", "", (FOLDER / file).read_text())
    named = set(re.findall(r"\bbridge[_:][a-z0-9_:]+", text))
    assert named
    assert named <= {*EXPORTED, *RECORDED}


def test_dashboard_shows_everything_that_is_exported() -> None:
    text = json.dumps(DASHBOARD)
    shown = {each.name for series, each in EXPORTED.items() if series in text}
    assert shown == {each.name for each in INSTRUMENTS}


def test_expressions_of_the_dashboard_are_read_by_prometheus(tmp_path: Path) -> None:
    expressions = find_expressions(DASHBOARD)
    assert len(expressions) >= len(DASHBOARD["panels"])
    rules = [
        {"record": f"panel:{i}", "expr": each.replace("$__rate_interval", "5m")}
        for i, each in enumerate(expressions)
    ]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", file)


def test_labels_of_expressions_are_attributes() -> None:
    """A label that the metric lacks matches nothing, and no tool would say so."""
    for expression in [*find_expressions(DASHBOARD), RULES]:
        for series, selector in re.findall(r"(bridge_[a-z_]+)\{([^}]*)\}", expression):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", selector))
            assert labels <= {*EXPORTED[series].attributes, "instance"}, expression
