"""The scan report: what a scan has found, and how much of each place it has searched."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY, FOREIGN, DataPlace, How
from lmeraser_ray.erasure.absence.traces import Traces


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


@dataclass(frozen=True)
class ScanReport:
    """What a scan did and found.

    records: how many were looked for; explained: occurrences that a live record, a live name or an
    open request explains; in_rows_only: ids that identify too little to be looked for in bytes;
    without: how many records have no window, by the kind of window.
    """

    records: int
    searched: tuple[Searched, ...]
    hits: tuple[Hit, ...]
    explained: int
    in_rows_only: int
    without: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Return what the certificate says: places, counts, bytes; no id, no path."""
        there = {one.place for one in self.searched}
        return {
            "records": self.records,
            "found": len(self.hits),
            "explained": self.explained,
            "searched": [
                {"place": one.place, "how": one.how, "files": one.files, "bytes": one.bytes}
                for one in self.searched
            ],
            "not_searched": [
                {"place": place.name, "because": place.because}
                for place in DATA_INVENTORY
                if place.name not in there
            ],
            "ids_looked_for_in_rows_only": self.in_rows_only,
            "records_without_a_window": self.without,
        }


@dataclass
class ScanReporter:
    """Collects what a scan finds and counts, and makes the report."""

    hits: dict[Hit, None] = field(default_factory=dict)
    explained: int = 0
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    def count(self, place: DataPlace | None, size: int, files: int = 1) -> None:
        """Note that files of a place were searched. size: their bytes."""
        self.files[name_of(place)] += files
        self.bytes[name_of(place)] += size

    def hit(self, place: DataPlace | None, path: str, trace: str) -> None:
        """Note a finding. The same trace in the same file counts once."""
        self.hits[Hit(name_of(place), path, trace)] = None

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

    def finish(self, traces: Sequence[Traces], in_rows_only: int) -> ScanReport:
        """Return the report of a scan for these traces."""
        kinds = ("picture", "pixels", "feature")
        without = {kind: sum(getattr(each, kind) is None for each in traces) for kind in kinds}
        records = len({each.record_id for each in traces})
        return ScanReport(
            records, self.searched(), tuple(self.hits), self.explained, in_rows_only, without
        )


def name_of(place: DataPlace | None) -> str:
    """Return a place's name, `FOREIGN` for None."""
    return place.name if place else FOREIGN
