"""What a scan finds, counts and reports."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY, FOREIGN, DataPlace, How


@dataclass(frozen=True, slots=True)
class Hit:
    """A finding. place: a registered one, or `FOREIGN`; path: the file's, below what was searched,
    without the id; trace: what it is."""

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
    """What a scan did and found. records: those that were looked for; explained: occurrences that
    are somebody else's or an open request's; in_rows_only: ids that say too little to be looked for
    in bytes; without: how many records have no window of a kind."""

    records: int
    searched: tuple[Searched, ...]
    hits: tuple[Hit, ...]
    explained: int
    in_rows_only: int
    without: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """For the certificate: places, counts, bytes; no id, no path."""
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
class Findings:
    """What a scan under way has found and counted so far."""

    hits: dict[Hit, None] = field(default_factory=dict)
    explained: int = 0
    files: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)

    def count(self, place: DataPlace | None, size: int, files: int = 1) -> None:
        """Note that a file was searched."""
        self.files[name_of(place)] += files
        self.bytes[name_of(place)] += size

    def hit(self, place: DataPlace | None, path: str, trace: str) -> None:
        """Note a finding; the same trace in the same file is one."""
        self.hits[Hit(name_of(place), path, trace)] = None

    def searched(self) -> tuple[Searched, ...]:
        """The places that were searched, in the order of the registry, then what is no part of
        it."""
        hows: dict[str, How] = {
            **{place.name: place.how for place in DATA_INVENTORY},
            FOREIGN: "raw",
        }
        return tuple(
            Searched(name, how, self.files[name], self.bytes[name])
            for name, how in hows.items()
            if name in self.files
        )


def name_of(place: DataPlace | None) -> str:
    """A place's name; that of what is in no place."""
    return place.name if place else FOREIGN
