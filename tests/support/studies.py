"""Results as `compare` writes them, made up, and what is drawn in a figure."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lmeraser_ray.config import Config
from lmeraser_ray.config.presets import names
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.study.figure.results import Study, study_of
from lmeraser_ray.study.figure.style import Missing
from tests.support.world import World

Tree = dict[str, Any]


def run_of(rng: np.random.Generator, *, epochs: int, shards: int) -> Tree:
    """One run, as `study.measure.measure` returns it."""
    accuracy, share = rng.uniform(0.3, 0.99), float(1 / shards)
    forget = [
        {"share": s, "accuracy": {"test": accuracy - s / 10, "retained": accuracy + s / 50}}
        for s in (0.0, 0.2, 0.5)
    ]
    return {
        "accuracy": {"test": accuracy, "train": accuracy + 0.01},
        "records": {"training": 1437, "test": 360},
        "shards": shards,
        "cost": {
            "expected_share": share,
            "p99_share": min(2 * share, 1.0),
            "worst_share": min(3 * share, 1.0),
            "work": {
                "record": {"passes": 14370 * share, "worst_passes": int(43110 * share)},
                "person": {"mean_share": min(1.5 * share, 1.0)},
            },
            "parameters": {
                "mean": 1e6 * share,
                "p99": 2e6 * share,
                "worst": 3e6 * share,
                "constituent": 1e3,
                "total": 1e6,
            },
        },
        "storage": {"constituents": 1000, "partition": 10},
        "deletion": {"single": [], "together": None},
        "forget": forget,
        "curve": [accuracy * (1 - 0.5**at) for at in range(1, epochs)] + [accuracy],
    }


def results(
    variants: dict[str, tuple[str, dict[str, str]]], seeds: tuple[int, ...] = (0, 1, 2)
) -> Tree:
    """compare.json, of variants by name: system and changes."""
    rng = np.random.default_rng(7)
    runs: Tree = {}
    for name, (system, changes) in variants.items():
        shards = int(
            changes.get("partition.shards", 1 if system in ("ridge", "one-head", "retrain") else 20)
        )
        runs[name] = {
            str(s): run_of(rng, epochs=1 if "ridge" in system else 6, shards=shards) for s in seeds
        }
    about = {
        name: {"system": system, "changes": changes} for name, (system, changes) in variants.items()
    }
    machine = {
        "cpu": "Some CPU",
        "cores": 2,
        "load": 0.1,
        "gpu": None,
        "torch": "2.0",
        "python": "3.11",
        "system": "Linux",
    }
    return {
        "unit": "work",
        "machine": machine,
        "subject": {"data": "digits", "backbone": "tiny", "on": "test"},
        "variants": about,
        "systems": {},
        "runs": runs,
    }


ALL = {name: (name, {}) for name in names()}
VARIED = {
    f"{s}_shards={k}": (s, {"partition.shards": str(k)})
    for s in ("lmeraser", "random-mean")
    for k in (5, 10, 40, 80)
}


def study(data: Tree) -> Study:
    return study_of(data, where="compare.json")


def drawn(found: Figure | Missing) -> Figure:
    assert isinstance(found, Figure)
    return found


def written(folder: Path, data: Tree) -> Path:
    (folder / "runs").mkdir(parents=True)
    (folder / "compare.json").write_text(json.dumps(data))
    return folder


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def lines(axes: Axes) -> dict[tuple[float, ...], list[list[float]]]:
    """The heights of the lines of axes, by their places."""
    found: dict[tuple[float, ...], list[list[float]]] = {}
    for line in axes.lines:
        x, y = (np.asarray(line.get_data()[i], float).tolist() for i in (0, 1))
        found.setdefault(tuple(x), []).append([round(value, 12) for value in y])
    return found


def rounded(values: Any) -> list[float]:
    return [round(float(value), 12) for value in values]


def bars(axes: Axes) -> dict[float, float]:
    """Where each lying bar ends, by its height."""
    return {
        patch.get_y() + patch.get_height() / 2: patch.get_x() + patch.get_width()
        for patch in axes.patches
    }  # type: ignore[attr-defined]


def trained(world: World, config: Config) -> Session:
    session = Session(world.space())
    train(session, config)
    return session
