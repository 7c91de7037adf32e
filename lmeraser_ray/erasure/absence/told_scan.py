"""What a certificate says of its scan, read again: by who asks for it, without what scans."""

from collections.abc import Mapping

from pydantic import ConfigDict

from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import ForeignJson, Natural


class PlaceJson(ForeignJson):
    """A place in a scan's report; `because` of one that was not searched."""

    place: str
    how: str = ""
    files: Natural = 0
    bytes: Natural = 0
    because: str = ""


class ScanJson(ForeignJson):
    """What is read of a scan's report, which may hold more."""

    model_config = ConfigDict(extra="ignore")
    records: Natural
    found: Natural
    searched: tuple[PlaceJson, ...]
    not_searched: tuple[PlaceJson, ...]
    test_records: Natural | None = None
    """Of the removed records, how many were held out for testing; None where that is not known."""


def read_scan(said: Mapping[str, object]) -> ScanJson | None:
    """What a certificate says of its scan, which may be of any form; None where it is another than
    `ScanReport.as_json` gives."""
    try:
        return ScanJson.read(canonical_json(said))
    except ValueError:
        return None


def tested_only(said: Mapping[str, object], removed: int) -> bool:
    """Whether a certificate says in its scan that all of the removed records, so many, were held
    out for testing, so that nothing was trained on them."""
    found = read_scan(said)
    return found is not None and 0 < removed == found.test_records
