"""The simulation of the queue: it loses nobody, agrees with queueing theory where there is one, and
the benchmark runs from end to end."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import simulate_queue
from benchmarks.queue_figure import draw
from benchmarks.retrain_times import RetrainTimes
from benchmarks.simulation import Arrivals, Setting, Simulation

TINY = (
    "backbone.name=tiny", "backbone.weights=random", "backbone.input_size=16",
    "backbone.readout.layer=null", "backbone.readout.pool=mean", "learner.epochs=1",
    "learner.prompt.width=1", "partition.shards=6", "partition.sample_size=30",
)  # fmt: skip


def setting(lanes: int, slots: int, *, seconds: float = 1.0, overhead: float = 0.0) -> Setting:
    share = np.full(lanes, 1 / lanes)
    return Setting(np.full(lanes, seconds), share, slots, overhead, np.array([3]), 0.5)


def simulated(
    world: Setting, *, requests: int, load: float, coalesce: bool, sampled: float = 0.0
) -> tuple[Simulation, dict]:
    arrivals = Arrivals.draw(
        world, requests=requests, rate=load * world.capacity, sampled=sampled, seed=3
    )
    simulation = Simulation(world, arrivals, coalesce=coalesce)
    return simulation, simulation.run()


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_without_coalescing_it_is_the_queue_of_the_textbooks(load: float) -> None:
    """Poisson arrivals, a constant time of service, one server: the mean wait is load / (2 (1 -
    load)) services (Pollaczek, Khinchine)."""
    simulation, _ = simulated(setting(100_000, 1), requests=40_000, load=load, coalesce=False)
    waits = simulation.certified - simulation.arrivals.times - 1
    assert waits.mean() == pytest.approx(load / (2 * (1 - load)), rel=0.05)


@pytest.mark.parametrize("coalesce", [True, False])
@pytest.mark.parametrize("sampled", [0.0, 0.02])
def test_everybody_is_certified_after_training_and_publication(
    coalesce: bool, sampled: float
) -> None:
    world = setting(20, 4, overhead=0.25)
    simulation, found = simulated(world, requests=2000, load=3, coalesce=coalesce, sampled=sampled)
    waits = simulation.certified - simulation.arrivals.times
    assert (
        found["certified"] == 2000 and waits.min() >= 1.25 - 1e-9 and len(simulation.scheduler) == 0
    )
    assert bool(found["exclusive_runs"]) == bool(sampled)
    assert found["slots_busy"] <= 1 + 1e-9
    if not sampled:
        assert found["retrains_started_per_request"] == pytest.approx(
            simulation.scheduler.retrains / 2000
        )
        assert simulation.scheduler.saved == 2000 - simulation.scheduler.retrains


def test_coalescing_serves_more_than_the_slots_could_one_by_one() -> None:
    world = setting(20, 4)
    _, together = simulated(world, requests=4000, load=10, coalesce=True)
    _, alone = simulated(world, requests=4000, load=10, coalesce=False)
    assert alone["retrains_per_request"] == 1 and alone["throughput"] == pytest.approx(
        world.capacity, rel=0.02
    )
    assert together["throughput"] > 5 * world.capacity and together["retrains_per_request"] < 0.2
    assert together["p99_s"] <= 3 * 20 / 4, "a round over all shards, started over at most"


def test_the_same_seed_gives_the_same_stream_at_every_rate() -> None:
    world = setting(50, 4)
    slow, fast = (
        Arrivals.draw(world, requests=100, rate=rate, sampled=0.1, seed=1) for rate in (1, 10)
    )
    assert (
        np.allclose(slow.times, 10 * fast.times)
        and (slow.lanes == fast.lanes).all()
        and (slow.sampled == fast.sampled).all()
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict]:
    def call(*options: str) -> dict:
        monkeypatch.setattr(sys, "argv", ["simulate_queue", *options])
        simulate_queue.main()
        return json.loads(capsys.readouterr().out)

    return call


def test_the_benchmark_from_recording_to_the_figure(
    run: Callable[..., dict], tmp_path: Path
) -> None:
    threads = torch.get_num_threads()
    times = tmp_path / "times.json"
    recorded = run("--record", str(times), *(word for field in TINY for word in ("--set", field)))
    torch.set_num_threads(threads)
    read = RetrainTimes.read(times)
    assert (
        len(read.seconds) == len(read.records) == 6
        and min(read.seconds) > 0
        and sum(read.records) == 1437
    )
    assert (
        len(read.changed) == 30
        and min(read.changed) >= 1
        and read.recluster > 0
        and recorded["set"] == list(TINY)
    )

    options = (
        "--times",
        str(times),
        "--requests",
        "400",
        "--lanes",
        "20",
        "--slots",
        "2",
        "--loads",
        "0.5,4",
        "--scale",
        "3",
    )
    first = run(*options, "--output", str(tmp_path / "a"))
    again = run(*options, "--output", str(tmp_path / "b"))
    assert (
        first == again
        and len(first["points"]) == 8
        and {point["certified"] for point in first["points"]} == {400}
    )
    rounding = 1e-6 * (
        1 / first["capacity"] + 1 / first["retrain_mean_s"]
    )  # both have six decimals
    assert first["capacity"] * first["retrain_mean_s"] == pytest.approx(2, rel=rounding)
    names = {"queue-simulation.json", "queue-simulation.png", "queue-simulation.svg"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in names
    )


def test_the_figure_is_drawn_again_from_its_numbers(
    run: Callable[..., dict], tmp_path: Path
) -> None:
    points = [
        {
            "rate": rate,
            "sampled": 0.0,
            "coalesce": coalesce,
            "throughput": rate,
            "retrains_per_request": 1,
            "p50_s": 2 * rate,
            "p99_s": 90 * rate,
        }
        for rate in (1.0, 5.0)
        for coalesce in (True, False)
    ]
    said = {
        "requests": 9,
        "lanes": 3,
        "slots": 2,
        "capacity": 2.0,
        "scale": 1,
        "overhead": 0.1,
        "seed": 0,
        "retrain_mean_s": 1.0,
    }
    result = {
        **said,
        "times": {"machine": {"cpu": "a processor"}, "shards": 70, "one_class": 40},
        "points": points,
    }
    (tmp_path / "queue-simulation.json").write_text(json.dumps(result))
    assert run("--draw", "--output", str(tmp_path)) == result
    svg = (tmp_path / "queue-simulation.svg").read_bytes()
    result["points"][0]["p99_s"] = 500.0
    draw(result, tmp_path)
    assert (tmp_path / "queue-simulation.svg").read_bytes() != svg
