"""The benchmarks run, end in one line of JSON, and measure what they say. Their figures are not
looked at: this machine is shared."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmarks import decoding, gpu, scale, small_shards, throughput, unlearning

ROOT = Path(__file__).parents[2]
WITHOUT_RAY = """
import runpy, sys
sys.modules["ray"] = None  # an import of it fails
sys.argv[1:] = ["--smoke", "--device", "cpu", "--rounds", "1"]
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int | None, list[dict]]]]:
    """Run a benchmark's `main` in this process: its exit code and the JSON of each line of its
    stdout."""
    threads = torch.get_num_threads()

    def call(main: Callable[[], int | None], *options: str) -> tuple[int | None, list[dict]]:
        monkeypatch.setattr(sys, "argv", ["benchmark", *options])
        code = main()
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    yield call
    torch.set_num_threads(threads)


@pytest.mark.long
def test_gpu_smoke_needs_no_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["bits_equal"] and found["features_equal"] and not found["not_run"]
    assert [entry["dtype"] for entry in found["bits"]["tiny@16"]] == ["float32", "bfloat16"]
    assert len({entry["sha256"] for entry in found["bits"]["tiny@16"]}) == 2, (
        "bfloat16 is not float32"
    )
    assert len(found["throughput"]) == 2


def test_gpu_notices_bits_that_differ(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        gpu, "other_process", lambda _: {"tiny@16 float32": "0" * 64, "tiny@16 bfloat16": "0" * 64}
    )
    code, (found,) = run(gpu.main, "--smoke", "--device", "cpu", "--rounds", "1", "--minutes", "0")
    assert code == 1 and not found["bits_equal"]
    assert found["not_run"] == [
        "throughput tiny@16 float32 batch 8",
        "throughput tiny@16 bfloat16 batch 8",
    ]


def test_gpu_without_a_device_says_so(run: Callable) -> None:
    assert run(gpu.main, "--device", "cpu") == (2, [])


def test_throughput_alternates_the_sides(run: Callable) -> None:
    tiny = ("--backbone", "tiny", "--size", "16", "--layer", "null", "--pool", "mean")
    _, (found,) = run(
        throughput.main, *tiny, "--records", "20", "--epochs", "2", "--batch", "8", "--rounds", "2"
    )
    assert found["images"] == 40 and found["rounds"] == 2 and found["threads"] == 1
    sides = {"learner", "bare", "plain", "unfolded", "unfolded bare"}
    assert set(found["images_per_s"]) == sides
    assert set(found["folding"]) == {"learner", "over_unfolded_bare", "features"}
    assert 0 < found["ratio"]["min"] <= found["ratio"]["median"] <= found["ratio"]["max"]
    assert found["machine"]["torch"] == torch.__version__


def test_decoding_alternates_the_sides(run: Callable) -> None:
    _, (found,) = run(decoding.main, "--pictures", "2", "--rounds", "1")
    assert set(found["cpu_ms_each"]) == {"checked", "copied", "pillow"}
    assert min(found["cpu_ms_each"].values()) > 0


def test_small_shards_are_compared_with_one(run: Callable) -> None:
    _, (found,) = run(small_shards.main, "--shards", "3", "--epochs", "1", "--rounds", "1")
    assert set(found["cpu_s"]) == {"one", "small", "alone"} and min(found["cpu_s"].values()) > 0
    assert found["small"]["ratio_min"] <= found["small"]["ratio"] <= found["small"]["ratio_max"]


def test_unlearning_trains_one_shard_and_no_more(run: Callable) -> None:
    _, (found,) = run(
        unlearning.main,
        "--records",
        "300",
        "--shards",
        "6",
        "--sample-size",
        "60",
        "--buckets",
        "4",
    )
    one = found["unsampled"]
    assert (
        found["records"] == 300
        and one["retrained_shards"] == 1
        and not one["reclustered"]
        and one["features_computed"] == 0
    )
    assert one["passes"] == one["shard_size_before"] - 1 and one["passes_ratio"] == 1
    assert found["train"]["features_computed"] == 300
    assert found["sampled"]["reclustered"] and found["sampled"]["features_computed"] == 0
    counted = one["seconds"]["stages"]["plan"] + one["seconds"]["stages"]["publish"]
    assert counted <= one["seconds"]["but_training"] <= one["seconds"]["all"]


@pytest.mark.long
def test_scale_measures_every_step(tmp_path: Path) -> None:
    """Each step in a process of its own; the kernel's count of what a task read is of its pictures
    and next to nothing else."""
    words = [
        "-m",
        "benchmarks.scale",
        "--records",
        "300",
        "--engine",
        "inline",
        "--out",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(
        [sys.executable, *words], check=False, cwd=ROOT, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == json.loads(done.stdout.splitlines()[-1])
    [size] = found["sizes"]
    assert size["records"] == 300
    assert (
        size["task"]["shard_bytes"]
        <= size["task"]["read_bytes"]
        < size["task"]["shard_bytes"] + 2000
    )
    assert all(
        size[step]["driver_mb"] > size[step]["before_mb"] > 0 for step in ("train", "unlearn")
    )
    assert 0 < size["unlearn"]["but_training"] <= size["unlearn"]["all"]


def test_scale_fits_what_was_measured() -> None:
    sizes = [
        {"records": n, "train": {"growth_mb": 100 + n * 64 / 2**20, "but_training": 3.0 * n**2}}
        for n in (1000, 10_000, 100_000)
    ]
    assert scale.bytes_a_record(sizes, "train", "growth_mb") == 64.0
    assert scale.exponent(sizes, "train") == 2.0
