"""Work by what people ask: one record, one person, a random batch, an addition.

    a state ─► each unit, or some drawn by hash ─► their works ─► mean, p50, p99, worst

Place in the flow: `cost`, `compare`, `sweep` and `recommend` ask here. Invariants: what is drawn is
a function of the ids and the seed, so anybody can draw it again; where units were drawn, the mean
has an interval, and `exact` is false.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from lmeraser_ray.config import AdaptiveConfig
from lmeraser_ray.config.shares import percent
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.partition.expected import DeletionCosts, spread
from lmeraser_ray.operations.work import COLUMNS, ChangeWork, Positions, WorkPlanner, table_of
from lmeraser_ray.storage.digests import seeded_key

UnitName = Literal["record", "person", "batch", "adding", "erasure"]
GROUP = 10
"""Records of a person where nobody knows whose records they are."""
DRAWS = 5
"""Random batches that are drawn."""
MOST = 100
"""People that are drawn where all would take too long: where the people times the records are more
than `FEASIBLE`, or `FEASIBLE_FIXED` where no deletion moves another record."""
FEASIBLE, FEASIBLE_FIXED = 3_000_000, 300_000_000


@dataclass(frozen=True)
class UnitWork:
    """The work of q units of one kind.

    unit: which; what: in words; table [fields, q] int64: their works, in the order of `COLUMNS`;
    population: how many such units there are, None of drawn batches; exact: whether these are all.
    """

    unit: UnitName
    what: str
    table: NDArray[np.int64]
    population: int | None
    exact: bool

    def __len__(self) -> int:
        return len(self.table.T)

    def column(self, name: str) -> NDArray[np.int64]:
        """One field of `ChangeWork` of each unit [q] int64."""
        found: NDArray[np.int64] = self.table[COLUMNS.index(name)]
        return found

    @property
    def share(self) -> NDArray[np.float64]:
        """The work of each as a share of that of a training [q] float64."""
        found: NDArray[np.float64] = (self.column("passes") + self.column("features")) / np.maximum(
            self.column("total"), 1
        )
        return found

    @property
    def interval(self) -> float | None:
        """The half width of the 95% interval of the mean share by Student's t; None where it is
        exact, or one was drawn."""
        return None if self.exact else interval(self.share)[1]

    def figures(self) -> dict[str, object]:
        """The summary as JSON values: of shares mean, p50, p99 and worst (those that occur), of the
        rest the mean."""
        share = spread(self.share)
        means = {name: spread(self.column(name).astype(np.float64))["mean"] for name in COLUMNS}
        return {
            "unit": self.unit,
            "what": self.what,
            "exact": self.exact,
            "measured": len(self),
            "population": self.population,
            **{f"{name}_share": value for name, value in share.items()},
            "interval": self.interval,
            "worst_passes": int(self.column("passes").max()) if len(self) else None,
            **means,
        }


def interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float | None]:
    """Return the mean and the half width of its 95% interval by Student's t (None for one
    value)."""
    found = np.array(values, np.float64)
    if len(found) < 2:
        return float(found.mean()), None
    return float(found.mean()), float(
        student.ppf(0.975, len(found) - 1) * found.std(ddof=1) / math.sqrt(len(found))
    )


def of_records(planner: WorkPlanner, each: Sequence[DeletionCosts]) -> UnitWork:
    """Each of some training records by itself. each: the costs of their deletions in each of the
    systems that train; positions count among the training records."""
    return UnitWork("record", "one record", planner.single(each), each[0].n, exact=True)


def of_people(planner: WorkPlanner, *, most: int | None = None) -> UnitWork:
    """Each person with all their training records; groups of ten by hash where no record has a
    subject of its own. most: how many are drawn at most; None: all, or `MOST` where all would take
    too long."""
    groups, known = people_of(planner.index, planner.config.seed)
    chosen = groups
    if most is None:
        most = len(groups) if feasible(planner, len(groups)) else MOST
    if len(groups) > most:
        rng = np.random.default_rng(planner.config.seed)
        chosen = [groups[i] for i in np.sort(rng.choice(len(groups), most, replace=False))]
    sizes = [len(group) for group in groups]
    what = (
        f"one person ({sum(sizes) / max(len(sizes), 1):.3g} records)"
        if known
        else f"{GROUP} records by hash"
    )
    table = table_of(planner.leaving(group) for group in chosen)
    return UnitWork("person", what, table, len(groups), exact=len(chosen) == len(groups))


def feasible(planner: WorkPlanner, units: int) -> bool:
    """Whether the work of so many units is computed one by one."""
    members = planner.config.members
    moves = any(isinstance(system.partition, AdaptiveConfig) for system in members)
    return units * len(planner.index) <= (FEASIBLE if moves else FEASIBLE_FIXED)


def people_of(index: RecordIndex, seed: int) -> tuple[list[Positions], bool]:
    """The positions of each person's training records, and whether subjects are known."""
    training = index.training
    if index.has_subjects:
        subjects = np.array(index.names("subject_id", training), object)
        names, code = np.unique(subjects.astype(str), return_inverse=True)
        order = np.argsort(code, kind="stable")
        bounds = np.cumsum(np.bincount(code, minlength=len(names)))[:-1]
        return list(np.split(training[order], bounds)), True
    order = drawn(index, seed, "work/people", len(training))
    whole = max(len(order) // GROUP, 1)
    return [order[i * GROUP : (i + 1) * GROUP] for i in range(whole)], False


def of_batches(planner: WorkPlanner, share: float, *, draws: int = DRAWS) -> UnitWork:
    """Random batches of a share of the training records, at least one record, each deleted at
    once."""
    return _drawn(planner, "batch", f"a batch of {percent(share)}", share, draws, planner.leaving)


def of_additions(planner: WorkPlanner, share: float, *, draws: int = DRAWS) -> UnitWork:
    """Random batches of a share of the training records, each added to the state of all others."""
    return _drawn(planner, "adding", f"adding {percent(share)}", share, draws, planner.coming)


def _drawn(
    planner: WorkPlanner,
    unit: UnitName,
    what: str,
    share: float,
    draws: int,
    work: Callable[[Positions], ChangeWork],
) -> UnitWork:
    index, seed = planner.index, planner.config.seed
    n = len(index.training)
    size = min(max(1, round(share * n)), max(n - 1, 1))
    sets = (drawn(index, seed, f"work/{unit}/{draw}", size) for draw in range(draws))
    return UnitWork(unit, what, table_of(map(work, sets)), None, exact=False)


def drawn(index: RecordIndex, seed: int, domain: str, size: int) -> Positions:
    """The positions of `size` training records, those of the smallest keyed hashes, smallest first;
    a tie goes to the lowest position."""
    key, training = seeded_key(seed, domain), index.training
    hashes = np.concatenate([np.empty(0, np.uint32), *(p.leading(key) for p in index.columns)])
    found: Positions = training[np.argsort(hashes[training], kind="stable")[:size]]
    return found
