"""What the absence scans of all certified erasures searched, added up.

Place in the flow: read from the frozen statements, for the page. Invariant: places, counts and
bytes only; no path and no id.
"""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select

from lmeraser_ray.erasure.absence.told_scan import read_scan
from lmeraser_ray.erasure.certificate.statement import read_statement
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests


@dataclass(frozen=True)
class PlaceFigures:
    """A place that was searched, how, in how many scans, and how many files and bytes were read
    together."""

    place: str
    how: str
    scans: int
    files: int
    bytes: int


@dataclass(frozen=True)
class ScanFigures:
    """scans: how many erasures were searched for; records: that were erased by them; found: traces
    that were there in the end; exceptions: findings that an operator accepted; unread: statements
    whose scan is of a form that this version does not know; not_searched: places with the
    reason."""

    scans: int
    records: int
    found: int
    exceptions: int
    unread: int
    searched: tuple[PlaceFigures, ...]
    not_searched: tuple[tuple[str, str], ...]


def scans_of(database: Database) -> ScanFigures:
    """Add up what the statements of purged and certified requests say of their scans."""
    with database.read() as connection:
        frozen = connection.scalars(
            select(requests.c.statement).where(requests.c.statement.is_not(None))
        )
        said = [read_statement(bytes(each)) for each in frozen]
    read = [read_scan(one.scan) for one in said]
    found = [one for one in read if one is not None]
    scans, files, sizes = Counter[str](), Counter[str](), Counter[str]()
    hows, unsearched = dict[str, str](), dict[str, str]()
    for one in found:
        for place in one.searched:
            scans[place.place] += 1
            files[place.place] += place.files
            sizes[place.place] += place.bytes
            hows[place.place] = place.how
        unsearched |= {place.place: place.because for place in one.not_searched}
    return ScanFigures(
        len(found),
        sum(len(one.erased.records) for one in said),
        sum(one.found for one in found),
        sum(len(one.exceptions) for one in said),
        len(read) - len(found),
        tuple(PlaceFigures(p, hows[p], scans[p], files[p], sizes[p]) for p in hows),
        tuple(unsearched.items()),
    )
