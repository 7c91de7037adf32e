"""Every metric and label that the dashboard asks for exists: ours under the names that Ray exports
them by, Ray's among its own."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from prometheus_client import generate_latest
from ray._private.telemetry.open_telemetry_metric_recorder import OpenTelemetryMetricRecorder

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "k8s" / "base" / "grafana" / "lmeraser.json").read_text())
RAY = Path(ray.__file__).parent / "dashboard" / "modules"
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
WORD = re.compile(r"\bray_\w+")


def declared() -> Iterator[tuple[str, str, set[str]]]:
    """Our metrics by the source: kind, name, labels besides the workspace's."""
    tree = ast.parse((ROOT / "lmeraser_ray" / "distributed" / "metrics.py").read_text())
    for call in ast.walk(tree):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in ("gauge", "counter", "histogram")
        ):
            name, _, *labels = [part.value for part in call.args if isinstance(part, ast.Constant)]
            yield call.func.id, name, {"workspace", *labels}


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The names of our metrics as Ray's exporter writes them, with their labels."""
    recorder = OpenTelemetryMetricRecorder()
    for kind, name, labels in declared():
        register = {
            "gauge": recorder.register_gauge_metric,
            "counter": recorder.register_counter_metric,
        }.get(kind)
        if register:
            register(f"lmeraser_{name}", "")
        else:
            recorder.register_histogram_metric(f"lmeraser_{name}", "", [1.0])
        recorder.set_metric_value(f"lmeraser_{name}", dict.fromkeys(labels, "x"), 1.0)
    lines = [
        line for line in generate_latest().decode().splitlines() if line.startswith("ray_lmeraser_")
    ]
    return {line.partition("{")[0]: set(re.findall(r'(\w+)="', line)) for line in lines}


def test_ours_are_exported_by_these_names(exported: dict[str, set[str]]) -> None:
    assert len(list(declared())) == 10
    assert {
        "ray_lmeraser_requests",
        "ray_lmeraser_gpu_seconds_total",
        "ray_lmeraser_publication_seconds_bucket",
    } <= set(exported)
    assert "ray_lmeraser_gpu_seconds" not in exported  # a counter


def test_every_metric_exists(exported: dict[str, set[str]]) -> None:
    rays = {
        word
        for path in (RAY / "metrics" / "dashboards").glob("*.py")
        for word in WORD.findall(path.read_text())
    }
    gauges = re.findall(r'Gauge\(\s*"(\w+)"', (RAY / "reporter" / "reporter_agent.py").read_text())
    known = {*exported, *rays, *(f"ray_{name}" for name in gauges)}
    asked = {word for expression in EXPRESSIONS for word in WORD.findall(expression)}
    assert len(asked) >= 15
    assert asked <= known


def test_every_metric_of_ours_is_shown(exported: dict[str, set[str]]) -> None:
    """Of a histogram its buckets."""
    wanted = {name for name in exported if not name.endswith(("_sum", "_count"))}
    assert wanted <= {word for expression in EXPRESSIONS for word in WORD.findall(expression)}


def test_every_label_exists(exported: dict[str, set[str]]) -> None:
    """Those by which ours are chosen and summed."""
    for expression in EXPRESSIONS:
        labels = set(re.findall(r"[{,]\s*(\w+)[=!]", expression)) | set(
            re.findall(r"\bby \((\w+)\)", expression)
        )
        for name in (word for word in WORD.findall(expression) if word in exported):
            assert labels <= exported[name], expression


def test_it_is_a_dashboard() -> None:
    """No two panels share a number or a place, and all fit Grafana's 24 columns."""
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = {
        (column, row)
        for panel in DASHBOARD["panels"]
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for row in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    }
    assert len(places) == sum(
        panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in DASHBOARD["panels"]
    )
    assert all(0 <= column < 24 for column, _ in places)
    assert {name for expression in EXPRESSIONS for name in re.findall(r"\$(\w+)", expression)} <= {
        "workspace",
        "__rate_interval",
    }
