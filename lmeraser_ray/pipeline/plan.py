"""The planner: which constituents there must be, which of them exist, and what must be trained.

Pure: no files, no Ray.

There is no unlearning algorithm. Training and unlearning both ask this module what the live records
need, and train what is missing.

    a shard's members ─► slices, in order ─► a chain of keys, one for each stage:
                                             key₁ = H(learner, backbone, slice 1)
                                             keyᵣ = H(keyᵣ₋₁, slice r)

Without slices the chain has one link. A deletion changes the keys from its record's slice on;
training goes on behind the longest prefix of the chain that is in the store. A joint learner has
one constituent for all shards, whose key covers which member is in which shard. Where shards have a
common start, a constituent of the permanent records, all chains begin with it, and it is trained
before the others. A shard of a learner that sums keeps its statistics beside the constituent, under
a key of the members too, so that the next deletion can subtract from them (`difference`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from lmeraser_ray.data.order import Digests, Positions, canonical_order
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.store import Listing, StoredObject

DigestsAt = Callable[[Positions], Digests]
"""The digests [m, 32] of the records at some positions, in the given order."""
NOBODY: Positions = np.empty(0, np.int64)
"""No positions."""
TOGETHER = 1 << 16
"""How many records are sorted by their shard at a time, and of how many members the digests are in
memory (more only where a single shard has more)."""


@dataclass(frozen=True)
class ConstituentSpec:
    """A constituent that must exist.

    shards, sizes: the numbers of the shards that it serves, ascending (one shard, unless the
    learner is joint), and how many members each has. slices: for each stage the members that it
    adds, as positions among all live records, in canonical order (by digest). keys: of the stages;
    the last one is the finished constituent's. groups [n] int32: for a joint learner the place in
    `shards` of each member, else None. statistics: the key of the statistics that the shard keeps;
    None where it keeps none. start: the key of the common start; None where there is none. member:
    the system of a blend that has the constituent; 0 where there is one system. A common start
    serves no shard by itself.
    """

    shards: tuple[int, ...]
    sizes: tuple[int, ...]
    slices: tuple[Positions, ...]
    keys: tuple[str, ...]
    groups: NDArray[np.int32] | None = None
    statistics: str | None = None
    start: str | None = None
    member: int = 0

    @property
    def key(self) -> str:
        """The finished constituent's key."""
        return self.keys[-1]

    def of_member(self, member: int) -> "ConstituentSpec":
        """The constituent with the shard numbers of a system of a blend."""
        shards = tuple(number + member * MEMBER_STRIDE for number in self.shards)
        return replace(self, shards=shards, member=member)

    def passes(self, first: int = 0) -> int:
        """How many records the stages from `first` on see, summed over the stages: the unit of
        cost."""
        return sum(list(accumulate(len(part) for part in self.slices))[first:])


@dataclass(frozen=True)
class Difference:
    """Statistics to start from, and what they lack. base: the stored statistics; left: the records
    in them that are no members, as positions in the state before; came: the members that are not in
    them, as positions among all live records."""

    base: StoredObject
    left: Positions
    came: Positions

    @property
    def rows(self) -> int:
        """How many records are read."""
        return len(self.left) + len(self.came)


@dataclass(frozen=True)
class Build:
    """A constituent to train from stage `first` on; where all of its stages exist, only its
    statistics are missing. difference: for a shard that keeps statistics, what these are computed
    from; None counts all members."""

    spec: ConstituentSpec
    first: int
    difference: Difference | None = None

    @property
    def passes(self) -> int:
        """How many records the training sees, summed over the stages."""
        if self.difference is not None:
            return self.difference.rows
        return self.spec.passes(0 if self.spec.statistics else self.first)

    @property
    def trains(self) -> bool:
        """Whether a constituent is missing, and not only its statistics."""
        return self.first < len(self.spec.keys)

    @property
    def makes(self) -> tuple[str, ...]:
        """The keys of what is missing."""
        kept = self.spec.statistics
        found = self.difference is not None and self.difference.base.key == kept
        return (*self.spec.keys[self.first :], *([kept] if kept and not found else []))


@dataclass(frozen=True)
class Plan:
    """specs: the constituents that must exist, in the order of their shards; reuse: the stages,
    statistics and common starts that exist, by key; build: what is missing, the most work first;
    first: the common starts that are missing, which come before."""

    specs: tuple[ConstituentSpec, ...]
    reuse: Mapping[str, StoredObject]
    build: tuple[Build, ...]
    first: tuple[Build, ...] = ()

    def begun(self, made: Mapping[str, StoredObject]) -> "Plan":
        """The plan once some common starts, by key, are made."""
        left = tuple(build for build in self.first if build.spec.key not in made)
        return replace(self, reuse={**self.reuse, **made}, first=left)

    @property
    def keys(self) -> Iterator[str]:
        """The keys of all that must exist."""
        for spec in self.specs:
            yield from (*spec.keys, *filter(None, (spec.statistics, spec.start)))


@dataclass(frozen=True)
class ConstituentRecipe:
    """All that constituents are a function of, besides their members. learner: its identity;
    backbone: the identity of the backbone; joint: whether one constituent serves all shards;
    sums: how statistics are kept, None where they are not; start: the key of the common start, None
    where there is none."""

    learner: Mapping[str, object]
    backbone: str
    joint: bool = False
    sums: "SumsRecipe | None" = None
    start: str | None = None


@dataclass(frozen=True)
class SumsRecipe:
    """What statistics are a function of, besides members and backbone. counted: what is summed;
    fewest: how many members a shard has at least that keeps statistics."""

    counted: Mapping[str, object]
    fewest: int


def shard_key(recipe: ConstituentRecipe, digests: Digests) -> str:
    """SHA-256 over all that a constituent is a function of: the identities of the learner and of
    the backbone, the common start where there is one, and the members' digests [m, 32] in order."""
    parts = (
        canonical_json(dict(recipe.learner)),
        bytes.fromhex(recipe.backbone),
        digests.tobytes(),
    )
    if recipe.start is None:
        return key_of("shard/1", *parts)
    return key_of("shard from a start/1", bytes.fromhex(recipe.start), *parts)


def start_spec(
    digests: DigestsAt, members: Positions, recipe: ConstituentRecipe
) -> ConstituentSpec:
    """The common start. members: the permanent records that train, at least one, ascending."""
    known = digests(members)
    order = canonical_order(known)
    parts = (canonical_json(dict(recipe.learner)), bytes.fromhex(recipe.backbone))
    return ConstituentSpec(
        (), (), (members[order],), (key_of("start/1", *parts, known[order].tobytes()),)
    )


def statistics_key(recipe: ConstituentRecipe, digests: Digests) -> str | None:
    """SHA-256 over all that a shard's statistics are a function of: what is summed, the identity of
    the backbone, and the members' digests [m, 32] in order; None where the shard keeps none."""
    if recipe.sums is None or len(digests) < recipe.sums.fewest:
        return None
    return key_of(
        "statistics/1",
        canonical_json(dict(recipe.sums.counted)),
        bytes.fromhex(recipe.backbone),
        digests.tobytes(),
    )


def stage_key(before: str, digests: Digests) -> str:
    """SHA-256 over the key of the stage before and the digests [m, 32] of the slice that this stage
    adds, in order."""
    return key_of("slice/1", bytes.fromhex(before), digests.tobytes())


def joint_key(recipe: ConstituentRecipe, digests: Digests, groups: NDArray[np.int32]) -> str:
    """SHA-256 over the identities of the learner and of the backbone, the digests [n, 32] of all
    members in order, and the shard of each [n] int32."""
    return key_of(
        "joint/1",
        canonical_json(dict(recipe.learner)),
        bytes.fromhex(recipe.backbone),
        digests.tobytes(),
        groups.tobytes(),
    )


def constituent_specs(
    digests: DigestsAt,
    assignment: NDArray[np.int32],
    *,
    recipe: ConstituentRecipe,
    slices: NDArray[np.int32] | None = None,
) -> tuple[ConstituentSpec, ...]:
    """The constituents of an assignment, in the order of their shards. A shard without members has
    none, and a slice without members is no stage.

    assignment: [n], the shard of each record, -1 for none; slices: [n], the slice of each record;
    None where there is only one.
    """
    grouped, bounds = members_by_shard(assignment)
    if recipe.joint:
        return (
            joint_spec(digests, np.sort(grouped), assignment, np.diff(bounds), recipe)
            if len(grouped)
            else ()
        )
    return tuple(separate_specs(digests, grouped, bounds, recipe, slices))


def members_by_shard(assignment: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The members of all k shards, shard after shard and ascending within each, and where each
    shard begins [k + 1].

    A counting sort in parts: an argsort of all would take three times the memory of its result. A
    driver has less than 2^31 records.
    """
    parts = [slice(at, at + TOGETHER) for at in range(0, len(assignment), TOGETHER)]
    sizes = np.zeros(int(assignment.max(initial=-1)) + 2, np.int64)  # first: of those in no shard
    for part in parts:
        sizes += np.bincount(assignment[part] + 1, minlength=len(sizes))
    bounds = np.cumsum([0, *sizes[1:]])
    grouped, free = np.empty(bounds[-1], np.int32), bounds[:-1].copy()
    for part in parts:
        order = np.argsort(assignment[part], kind="stable")
        order = order[np.count_nonzero(assignment[part] < 0) :]
        shards = assignment[part][order]
        # how many members of the same shard come before each member
        before = np.arange(len(shards)) - np.searchsorted(shards, shards)
        grouped[free[shards] + before] = order + part.start
        free += np.bincount(shards, minlength=len(free))
    return grouped, bounds


def separate_specs(
    digests: DigestsAt,
    grouped: Positions,
    bounds: NDArray[np.int64],
    recipe: ConstituentRecipe,
    slices: NDArray[np.int32] | None,
) -> Iterator[ConstituentSpec]:
    """A constituent for each shard. grouped: the members of all shards, shard after shard; put into
    canonical order here; bounds: [k + 1], where each shard begins."""
    first = 0
    while first < len(bounds) - 1:
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + TOGETHER, "right")) - 1)
        known = digests(grouped[bounds[first] : bounds[last]])
        for number in first + np.flatnonzero(np.diff(bounds[first : last + 1])):
            begin, end = bounds[number], bounds[number + 1]
            mine = known[begin - bounds[first] : end - bounds[first]]
            order = canonical_order(mine)
            grouped[begin:end] = grouped[begin:end][order]
            yield one_shard(int(number), grouped[begin:end], mine[order], recipe, slices)
        first = last


def one_shard(
    number: int,
    members: Positions,
    digests: Digests,
    recipe: ConstituentRecipe,
    slices: NDArray[np.int32] | None,
) -> ConstituentSpec:
    """The constituent of one shard. members [m] and digests [m, 32]: in canonical order."""
    if slices is None:
        return ConstituentSpec(
            (number,),
            (len(members),),
            (members,),
            (shard_key(recipe, digests),),
            statistics=statistics_key(recipe, digests),
            start=recipe.start,
        )
    found = slices[members]
    parts = [found == r for r in np.unique(found)]
    keys = [shard_key(recipe, digests[parts[0]])]
    for part in parts[1:]:
        keys.append(stage_key(keys[-1], digests[part]))
    return ConstituentSpec(
        (number,),
        (len(members),),
        tuple(members[part] for part in parts),
        tuple(keys),
        start=recipe.start,
    )


def joint_spec(
    digests: DigestsAt,
    members: Positions,
    assignment: NDArray[np.int32],
    sizes: Positions,
    recipe: ConstituentRecipe,
) -> tuple[ConstituentSpec, ...]:
    """The one constituent of all shards. Reads the digests of all members at once."""
    known = digests(members)
    order = canonical_order(known)
    members, numbers = members[order], np.flatnonzero(sizes)
    groups = np.searchsorted(numbers, assignment[members]).astype(np.int32)
    key = joint_key(recipe, known[order], groups)
    return (
        ConstituentSpec(
            tuple(numbers.tolist()), tuple(sizes[numbers].tolist()), (members,), (key,), groups
        ),
    )


def plan_constituents(
    specs: tuple[ConstituentSpec, ...], listing: Listing, starts: Iterable[ConstituentSpec] = ()
) -> Plan:
    """Reuse the longest prefix of each chain that is in the store, the statistics and the common
    starts; build what follows, the most work first. What two systems of a blend share is built
    once."""
    reuse: dict[str, StoredObject] = {}
    build: dict[str, Build] = {}
    begins: dict[str, Build] = {}
    for spec in starts:
        begun = listing.get(("constituents", spec.key))
        if begun:
            reuse[spec.key] = begun
        else:
            begins.setdefault(spec.key, Build(spec, 0))
    for spec in specs:
        first = 0
        for key in spec.keys:
            known = listing.get(("constituents", key))
            if known is None:
                break
            reuse[key] = known
            first += 1
        sums = listing.get(("statistics", spec.statistics)) if spec.statistics else None
        if sums:
            reuse[sums.key] = sums
        if first < len(spec.keys) or (spec.statistics and not sums):
            found = Difference(sums, NOBODY, NOBODY) if sums else None
            build.setdefault(spec.key, Build(spec, first, found))
    return Plan(specs, reuse, most_work_first(build.values()), tuple(begins.values()))


def most_work_first(builds: Iterable[Build]) -> tuple[Build, ...]:
    """Builds in the order in which they should begin."""
    return tuple(sorted(builds, key=lambda item: (-item.passes, item.spec.key)))
