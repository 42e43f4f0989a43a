"""Alert rules and dashboard: tried with Prometheus's own tool, and against the metrics that pgdr really writes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "roles" / "backup_monitoring" / "files"
RULES = FILES / "pgdr.rules.yml"
_TESTS = ROOT / "scripts" / "tests" / "integration" / "data" / "alerts.test.yml"
_METRIC = re.compile(r"\bpgdr_[a-z_]+")


def _written() -> set[str]:
    """Names of the metrics in the code that writes them."""
    source = (ROOT / "scripts" / "src" / "pgdr" / "metrics.py").read_text()
    return {f"pgdr_{name}" for name in re.findall(r'book\.set\(\s*"([a-z_]+)"', source)}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (apt-get install prometheus)")
def test_every_rule_fires_when_it_must_and_not_before(tmp_path: Path) -> None:
    tests = tmp_path / "alerts.test.yml"
    tests.write_text(_TESTS.read_text().replace("[RULES]", f"[{RULES}]"))
    done = subprocess.run(["promtool", "test", "rules", str(tests)], check=False, capture_output=True, text=True)  # noqa: S607 - on the PATH, as skipif says
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_and_says_what_to_do() -> None:
    tested = set(re.findall(r"alertname: (\w+)", _TESTS.read_text()))
    for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]:
        assert rule["alert"] in tested
        assert "Do: " in rule["annotations"]["description"]
        assert rule["labels"]["severity"] in {"warning", "critical"}


@pytest.mark.parametrize("path", [RULES, FILES / "pgdr-dashboard.json"], ids=["rules", "dashboard"])
def test_rules_and_dashboard_use_only_metrics_that_are_written(path: Path) -> None:
    used = set(_METRIC.findall(path.read_text()))
    assert used
    assert used <= _written()


def test_the_dashboards_queries_are_valid(tmp_path: Path) -> None:
    dashboard = json.loads((FILES / "pgdr-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) >= len(dashboard["panels"]) >= 10
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool (apt-get install prometheus)")
    rules = tmp_path / "queries.yml"
    records = [{"record": f"q{n}", "expr": query.replace("$cluster", ".*")} for n, query in enumerate(queries)]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": records}]}))
    done = subprocess.run(["promtool", "check", "rules", str(rules)], check=False, capture_output=True, text=True)  # noqa: S607
    assert done.returncode == 0, done.stdout + done.stderr
