"""What `compare` wrote, as figures read it: each variant's runs, with means over seeds.

compare.json → Study → the numbers of a figure
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.work_units import interval
from lmeraser_ray.study.figure.style import Look, look

Run = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: its mean, its least and its largest value, and the half width of its 95%
    interval (None from one seed)."""

    mean: float
    low: float
    high: float
    half: float | None


def spread(values: Iterable[float]) -> Spread:
    """The spread of at least one value."""
    found = list(values)
    mean, half = interval(found)
    return Spread(mean, min(found), max(found), half)


def values_of(changes: Mapping[str, str]) -> list[str]:
    """Return `field=value` for each change, without the fields' sections."""
    return [f"{field.rpartition('.')[2]}={value}" for field, value in changes.items()]


@dataclass(frozen=True)
class Measured:
    """One variant: its name, its system, the fields that were varied, its runs in the order of the
    seeds, its look."""

    name: str
    system: str
    changes: Mapping[str, str]
    runs: tuple[Run, ...]
    look: Look

    @property
    def label(self) -> str:
        """The system, and what was changed in it."""
        return " ".join([self.system, *values_of(self.changes)])

    def over(self, read: Callable[[Run], float | None]) -> Spread | None:
        """A figure of each run over seeds; None where no run has it."""
        values = [value for run in self.runs if (value := read(run)) is not None]
        return spread(values) if values else None


def test_accuracy(run: Run) -> float | None:
    """The share of test records that a run labels rightly; None without test records."""
    found: float | None = run["accuracy"]["test"]
    return found


def expected_share(run: Run) -> float | None:
    """The share of a full training that one deletion costs on average."""
    found: float | None = run["cost"]["expected_share"]
    return found


def person_share(run: Run) -> float | None:
    """The share of a full training that forgetting a person costs on average; None in results of an
    earlier release, which knew no person."""
    found: float | None = run["cost"].get("work", {}).get("person", {}).get("mean_share")
    return found


@dataclass(frozen=True)
class Study:
    """All variants of a study, in its order, and what they were measured on.

    on: the records that accuracy is of; in_passes: whether costs are work; an earlier release
    counted the records of the shards that change instead.
    """

    variants: tuple[Measured, ...]
    source: str
    on: str = "test"
    in_passes: bool = True

    @property
    def accuracy(self) -> str:
        """What accuracy is, in words."""
        return f"{self.on} accuracy"

    @property
    def share(self) -> str:
        """What the cost of one deletion is, in words."""
        what = (
            "work of a deletion (% of a training"
            if self.in_passes
            else ("records in shards that change (% of all")
        )
        return f"{what}, mean)"

    def of_systems(self, names: Iterable[str]) -> list[Measured]:
        """The variants of some systems, in the order of these."""
        return [variant for name in names for variant in self.variants if variant.system == name]


def study_of(data: Any, *, where: str) -> Study:
    """Read compare.json. where: its path, for errors. Errors: `DataError` where it is something
    else."""
    try:
        systems = list(dict.fromkeys(about["system"] for about in data["variants"].values()))
        variants = tuple(
            Measured(
                name,
                about["system"],
                about["changes"],
                runs_of(data["runs"][name]),
                look(systems.index(about["system"])),
            )
            for name, about in data["variants"].items()
        )
        for variant in variants:
            variant.over(test_accuracy), variant.over(expected_share)
        on, in_passes = data["subject"].get("on", "test"), data.get("unit") == "work"
        return Study(variants, source_of(data, variants), on, in_passes)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{where} is not what this version's `lmeraser compare` writes ({error!r}): run it "
            "again into a new study."
        ) from error


def runs_of(by_seed: Mapping[str, Run]) -> tuple[Run, ...]:
    """The runs by seed, in the order of the seeds. Errors: `ValueError` where there is none."""
    if not by_seed:
        raise ValueError("a system without runs")
    return tuple(by_seed[seed] for seed in sorted(by_seed, key=int))


def source_of(data: Mapping[str, Any], variants: tuple[Measured, ...]) -> str:
    """One sentence: what wrote the numbers, on which data and backbone, from how many records,
    under which seeds, on which machine."""
    counts = [run["records"] for variant in variants for run in variant.runs]
    training, test = (ranged(count[kind] for count in counts) for kind in ("training", "test"))
    seeds = ", ".join(
        str(seed) for seed in sorted({seed for runs in data["runs"].values() for seed in runs})
    )
    about = (
        f"{data['subject']['data']}, {data['subject']['backbone']}; {training} training and "
        f"{test} test records"
    )
    return f"lmeraser compare; {about}; seeds {seeds}; {machine_of(data)}"


def machine_of(data: Mapping[str, Any]) -> str:
    """Return what a study was measured on, for the foot of a figure."""
    machine = data["machine"]
    more = f"{machine['cores']} cores"
    parts = [machine["gpu"], machine["cpu"]] if machine.get("gpu") else [machine["cpu"], more]
    return f"{', '.join(parts)}; torch {machine['torch']}"


def ranged(counts: Iterable[int]) -> str:
    """`1,437`, or `1,430–1,437` where runs differ (each seed is a split of its own)."""
    found = np.array(list(counts))
    low, high = int(found.min()), int(found.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"
