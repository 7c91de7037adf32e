"""The scan report: what a scan has found, and how much of each place it has searched."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY, FOREIGN, DataPlace, How
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.erasure.circumstances import Circumstances


@dataclass(frozen=True, slots=True)
class Hit:
    """A finding. place: one of the inventory, or `FOREIGN`; path: of the file, below the searched
    folder, with ids masked; trace: what was found."""

    place: str
    path: str
    trace: str


@dataclass(frozen=True, slots=True)
class Searched:
    """How a place was searched, and how much of it."""

    place: str
    how: How
    files: int
    bytes: int


KINDS_OF_WINDOW = ("picture", "pixels", "feature")
Owners = frozenset[str] | None
"""The records and subjects whose trace was found; None where it is the workspace that is not as it
should be, such as by a file that is no part of it."""


@dataclass(frozen=True)
class ScanReport:
    """What a scan did and found.

    found: each finding with its owners; explained: occurrences that a live record, a live name, our
    own words or an open request explain; patterns, traces: what was looked for.
    """

    searched: tuple[Searched, ...]
    found: dict[Hit, Owners]
    explained: int
    patterns: PatternSet
    traces: tuple[Traces, ...]

    @property
    def names(self) -> frozenset[str]:
        """The ids and subjects that were looked for."""
        return self.patterns.ids | self.patterns.subjects

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Every finding."""
        return tuple(self.found)

    def hits_of(self, names: Collection[str]) -> tuple[Hit, ...]:
        """Return the findings that hold back the erasure of these records and subjects: their own,
        and those that are of nobody."""
        return tuple(
            hit
            for hit, owners in self.found.items()
            if owners is None or not owners.isdisjoint(names)
        )

    def as_json(self, names: Collection[str], where: Circumstances) -> dict[str, Any]:
        """Return what the certificate of the erasure of these records and subjects says: places,
        counts, bytes; no id, no path. where: decides which places there are that were not
        searched."""
        there = {one.place for one in self.searched}
        mine = [each for each in self.traces if each.record_id in names]
        return {
            "records": len({each.record_id for each in mine}),
            "found": len(self.hits_of(names)),
            "explained": self.explained,
            "searched": [
                {"place": one.place, "how": one.how, "files": one.files, "bytes": one.bytes}
                for one in self.searched
            ],
            "not_searched": [
                {"place": place.name, "because": place.because}
                for place in DATA_INVENTORY
                if place.name not in there and where.holds(place.only)
            ],
            "ids_looked_for_in_rows_only": self.patterns.in_rows_only(names),
            "records_without_a_window": {
                kind: sum(getattr(each, kind) is None for each in mine) for kind in KINDS_OF_WINDOW
            },
        }


@dataclass
class ScanReporter:
    """Collects what a scan finds and counts, and makes the report."""

    found: dict[Hit, Owners] = field(default_factory=dict)
    explained: int = 0
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    def count(self, place: DataPlace | None, size: int, files: int = 1) -> None:
        """Note that files of a place were searched. size: their bytes."""
        self.files[name_of(place)] += files
        self.bytes[name_of(place)] += size

    def hit(self, place: DataPlace | None, path: str, trace: str, owners: Owners) -> None:
        """Note a finding. The same trace in the same file counts once, for all of its owners."""
        hit = Hit(name_of(place), path, trace)
        before = self.found.get(hit, frozenset())
        self.found[hit] = None if before is None or owners is None else before | owners

    def searched(self) -> tuple[Searched, ...]:
        """Return the searched places in the order of the inventory, then the foreign files."""
        hows: dict[str, How] = {
            **{place.name: place.how for place in DATA_INVENTORY},
            FOREIGN: "raw",
        }
        return tuple(
            Searched(name, how, self.files[name], self.bytes[name])
            for name, how in hows.items()
            if name in self.files
        )

    def finish(self, traces: Sequence[Traces], patterns: PatternSet) -> ScanReport:
        """Return the report of a scan for these traces."""
        return ScanReport(self.searched(), self.found, self.explained, patterns, tuple(traces))


def name_of(place: DataPlace | None) -> str:
    """Return a place's name, `FOREIGN` for None."""
    return place.name if place else FOREIGN
