"""Time to forget: what is extrapolated follows from what is measured, is called so, and needs
neither Ray nor a GPU to be tried."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import forgetting, gpu
from benchmarks.forgetting import FULL, SMOKE, STEPS, measure, step_seconds
from benchmarks.table2 import (
    PAPER,
    SISA_SHARDS,
    DataSet,
    Kind,
    Speed,
    deletions,
    shard_sizes,
    table,
)
from lmeraser_ray.models.backbone import load_backbone

ROOT = Path(__file__).parents[2]
WITHOUT_RAY = """
import runpy, sys
sys.modules["ray"] = None  # an import of it fails
sys.argv[1:] = ["--smoke", "--device", "cpu"]
runpy.run_module("benchmarks.forgetting", run_name="__main__", alter_sys=True)
"""
EVEN = Speed({1: 1.0, 128: 1.0}, {128: 0.0, 768: 0.0})
"""Every step takes a second, and nothing else does."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def of(rows: list[dict[str, Any]]) -> dict[str, float]:
    return {row["system"]: row["seconds"] for row in rows}


def test_a_training_is_its_fixed_seconds_and_its_steps() -> None:
    speed = Speed({1: 1.0, 32: 2.0, 128: 5.0}, {128: 3.0, 768: 9.4})  # fixed: 1.72 + 0.01 a record
    assert speed.seconds(128, 1) == pytest.approx(3.0 + 5.0)
    assert speed.seconds(256, 50) == pytest.approx(1.72 + 2.56 + 50 * 10)
    assert speed.seconds(257, 50) == pytest.approx(1.72 + 2.57 + 50 * 11), (
        "a last batch of one record costs a short step"
    )
    assert speed.seconds(128 + 80, 2) == pytest.approx(1.72 + 2.08 + 2 * (5 + 3.5)), (
        "half way between 32 and 128"
    )
    assert speed.seconds(0, 50) == 0, "a shard that is empty is not trained"


def test_the_fixed_seconds_do_not_fall() -> None:
    """Noise may have made the larger shard the faster one: many records must not cost less than
    nothing."""
    speed = Speed({1: 0.0, 8: 0.0}, {8: 2.0, 48: 1.0})
    assert speed.seconds(8, 1) == speed.seconds(100_000, 1) == 2.0


@pytest.mark.parametrize("data", FULL.data, ids=lambda data: data.name)
def test_sizes_divide_all_records(data: DataSet) -> None:
    sizes = shard_sizes(data.records, data.clusters)
    assert (
        len(sizes) == data.clusters
        and sum(sizes) == data.records
        and min(sizes) >= 1
        and sizes == sorted(sizes)
    )


def test_sizes_are_as_uneven_as_measured() -> None:
    """10,000 digits in 201 clusters: a deletion of an unsampled record retrains 3% of all."""
    assert sum(size**2 for size in shard_sizes(10_000, 201)) / 10_000**2 == pytest.approx(
        0.03, abs=0.002
    )


def test_deletions_count_the_steps_of_their_shards() -> None:
    speeds: dict[Kind, Speed] = {"prompt_head": EVEN, "label_mapping": EVEN, "whole_model": EVEN}
    data = FULL.data[0]
    rows = deletions(data, speeds, 50, recluster=100.0, sample=1000)
    found = of(rows)
    assert found["lmeraser_mean_shard"] == found["dam_vp"] == found["sisa_k"] == 50 * 3, (
        "257 records: 128, 128 and one"
    )
    assert found["single_prompt"] == found["whole_model_all"] == 50 * 391, "49,999 records"
    assert found["sisa_20"] == 50 * 20, "2,499 records"
    sizes = shard_sizes(data.records, data.clusters)
    assert found["lmeraser_train_all"] == 50 * sum(-(-size // 128) for size in sizes)
    by_record = sum(size * 50 * -(-(size - 1) // 128) for size in sizes) / data.records
    assert (
        found["lmeraser_mean_over_records"] == pytest.approx(by_record)
        and by_record > found["lmeraser_mean_over_shards"]
    )
    assert found["lmeraser_and_reclustering"] == pytest.approx(by_record + 0.02 * 100)
    moved = 0.98 * by_record + 0.02 * (100 + 0.27 * found["lmeraser_train_all"])
    assert found["lmeraser_and_changed_shards"] == pytest.approx(moved)
    assert all(row["kind"] == "extrapolated" and row["basis"] for row in rows)


def test_what_was_not_measured_is_not_extrapolated() -> None:
    assert set(
        of(deletions(FULL.data[2], {"label_mapping": EVEN}, 50, recluster=0.0, sample=1000))
    ) == {"dam_vp"}


def test_the_plan_is_the_papers() -> None:
    assert (
        {data.name for data in FULL.data} == set(PAPER)
        and FULL.epochs == 50
        and FULL.batches[-1] == 128
        and SISA_SHARDS == 20
    )
    config = FULL.learner("prompt_head", "float32", batch=128, epochs=50).identity()
    assert (
        config["prompt"]["width"] == 30
        and config["optimizer"] == "sgd"
        and config["flip"]
        and config["crop"] == 16
    )  # type: ignore[index]


def test_the_table_has_the_papers_figures_beside_ours() -> None:
    rows = deletions(
        FULL.data[0], {"label_mapping": EVEN, "whole_model": EVEN}, 50, recluster=0.0, sample=1000
    )
    lines = table([{"backbone": "vit", "dtype": "float32", **row} for row in rows]).splitlines()
    assert lines[0] == "| data | seconds | dam_vp | sisa_k | sisa_20 | whole_model_all |"
    assert lines[2] == "| cifar10 | vit float32, extrapolated | 150 | 150 | 1,000 | 19,550 |"
    assert lines[3:] == ["| cifar10 | paper, ViT-B-22K, V100 | 21.3 |  | days | days |"]


def test_a_step_is_its_share_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks a second at each look: an epoch takes one, and has so many steps."""
    ticks = iter(range(1000))
    monkeypatch.setattr(forgetting.time, "perf_counter", lambda: float(next(ticks)))
    backbone = load_backbone(SMOKE.backbones[0], torch.device("cpu"), classifier=True)
    assert step_seconds(SMOKE, "label_mapping", "float32", 4, backbone) == 1 / STEPS


@pytest.mark.long
def test_smoke_is_consistent_and_needs_no_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["not_run"] and not found["failed"] and found["smoke"]
    assert "| svhn | paper, ViT-B-22K, V100 | 214 |" in done.stderr
    speeds: dict[str, dict[Kind, Speed]] = {}
    for said in found["speeds"]:
        assert said["kind"] == "measured" and min(said["step_s"].values()) > 0
        by_size = (
            {int(size): seconds for size, seconds in said[name].items()}
            for name in ("step_s", "fixed_s")
        )
        speeds.setdefault(said["dtype"], {})[said["learner"]] = Speed(*by_size)
    assert {dtype: len(kinds) for dtype, kinds in speeds.items()} == {"float32": 3, "bfloat16": 3}
    for row in (
        row
        for row in found["deletions"]
        if "recluster" not in row["system"] and "changed" not in row["system"]
    ):
        data = next(data for data in SMOKE.data if data.name == row["data"])
        again = of(
            deletions(
                data, speeds[row["dtype"]], found["epochs"], recluster=0.0, sample=SMOKE.sample
            )
        )
        assert again[row["system"]] == pytest.approx(row["seconds"], abs=2e-6), row
    assert len(found["deletions"]) == 2 * 2 * 11
    for check in found["checks"]:
        assert check["predicted_by_measured"] == pytest.approx(
            check["extrapolated_s"] / check["measured_s"], rel=0.01
        )
    trained = {(check["data"], check["learner"], check["records"]) for check in found["checks"]}
    assert trained == {("cifar10", kind, 15) for kind in forgetting.KINDS} | {
        ("svhn", "prompt_head", 29)
    }
    (before,) = found["preparations"]
    assert (
        before["features_s_per_1000"]["seconds"] > 0 and before["linkage"]["sample"] == SMOKE.sample
    )
    assert {name: entry["kind"] for name, entry in before["assignment"].items()} == dict.fromkeys(
        ("cifar10", "svhn"), "extrapolated"
    )


def test_no_time_is_no_figure() -> None:
    found = measure(SMOKE, torch.device("cpu"), deadline=time.perf_counter() - 1)
    assert found["not_run"] == ["tiny"] and not found["speeds"] and not found["deletions"]


def test_a_failure_is_told_and_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object, kind: Kind, dtype: str, __: object) -> tuple[Speed, dict[str, Any]]:
        if kind == "whole_model":
            raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate much.")
        return Speed({1: 1.0, 8: 1.0}, {8: 0.0, 48: 0.0}), {"learner": kind, "dtype": dtype}

    monkeypatch.setattr(forgetting, "measure_speed", fails)
    found = measure(SMOKE, torch.device("cpu"), deadline=time.perf_counter() + 600)
    assert found["failed"] == [
        f"tiny {dtype} whole_model: OutOfMemoryError CUDA out of memory."
        for dtype in ("float32", "bfloat16")
    ]
    assert len(found["speeds"]) == 4 and {"dam_vp", "single_prompt"} < {
        row["system"] for row in found["deletions"]
    }
    assert "whole_model_all" not in {row["system"] for row in found["deletions"]}


def test_the_gpu_benchmark_has_it_within_its_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        gpu, "other_process", lambda _: {"tiny@16 float32": "", "tiny@16 bfloat16": ""}
    )
    monkeypatch.setattr(sys, "argv", ["benchmark", "--smoke", "--device", "cpu", "--minutes", "0"])
    assert gpu.main() == 1, "there is no other process to be equal to"
    assert json.loads(capsys.readouterr().out)["time_to_forget"]["not_run"] == ["tiny"]


def test_without_a_device_nothing_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", "--device", "cpu"])
    assert forgetting.main() == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "no CUDA device" in printed.err
