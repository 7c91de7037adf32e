"""What can be said of the configured source without reading a picture: paths, columns, subjects.

Place in the flow: before anything that takes time or leaves something behind, so that a mistake is
told within a second or two; `read_source` meets the rest when it arrives there. Invariants: no
picture is decoded, nothing is written, and nothing is refused that `read_source` would accept.
"""

from pathlib import Path

from lmeraser_ray.config.data import TORCHVISION, DataConfig
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.data.sources.entry import place
from lmeraser_ray.data.sources.faults import Fault, Faults
from lmeraser_ray.data.sources.memory import HeldRecords
from lmeraser_ray.data.sources.read_source import SourcePlan, check_disjoint, refuse_empty, sides
from lmeraser_ray.data.subjects import subject_resolver
from lmeraser_ray.errors import DataError


def check_source(config: DataConfig, *, whole: bool, held: HeldRecords | None = None) -> None:
    """Refuse a source that cannot be read. whole: no record was erased, so that there are some, and
    each must have a subject; held: as in `read_source`, whose errors these are."""
    check_disjoint(config)
    subject_resolver(config)
    excluded = read_ids(config.exclude, "data.exclude")
    read_ids(config.permanent, "data.permanent")
    read_ids(config.readmit, "data.readmit")
    read_ids(config.readmit_subjects, "data.readmit_subjects")
    if config.source in TORCHVISION:
        if config.path is not None and not config.download:
            check_path(config.path, "data.path, or set data.download")
        return
    for side in sides(config, held):
        first = next(side.entries, None)
        if isinstance(first, Fault) and not first.alone:
            raise first.error
        if first is None and whole:
            refuse_empty(side.where)
    if whole and config.source == "folder":  # of Parquet the names lie beside the pictures
        _check_names(config, excluded)


def _check_names(config: DataConfig, excluded: frozenset[str]) -> None:
    """Errors: `DataError` that names all ids, subjects and labels that cannot be used."""
    faults = Faults()
    for one in SourcePlan(config, 0, excluded.__contains__, subject_resolver(config)).run():
        if isinstance(one, Fault):
            faults.add(one)
    if faults.others:
        faults.raise_refused(config.on_error)


def check_path(path: Path, option: str) -> None:
    """Errors: `DataError` where nothing is at a path. option: the field to correct."""
    if not path.exists():
        raise DataError(f"{place(path)}: does not exist: correct {option}.")
