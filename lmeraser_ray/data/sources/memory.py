"""The source `memory`: records that a program holds, as a table or as a data set of pairs.

    >>> held = HeldRecords.of({"image": [b"..."], "label": ["cat"]})
    >>> [entry.label for entry in memory_entries(held, held.splits()[""], config=DataConfig())]
    ['cat']

Place in the flow: beside the other sources; `Workspace.train` is given the records. Invariants: a
row is read as a Parquet file's row is (`rows`), so that equal content has one id and one sequence
of bytes, whatever container it came in; an error names the row, from 0 on; nothing is kept but
references. pandas, pyarrow and torch are known by their look, so that none is imported here.
"""

import functools
import math
import threading
from collections import UserString
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.sources.class_names import ClassNames
from lmeraser_ray.data.sources.entry import SourceEntry
from lmeraser_ray.data.sources.faults import Fault
from lmeraser_ray.data.sources.held_pictures import encoded, is_tensor
from lmeraser_ray.data.sources.layout import TRAIN, known_split
from lmeraser_ray.data.sources.rows import (
    USUAL_ID,
    Row,
    RowNames,
    check_columns,
    check_present,
    read_columns,
    row_entry,
)
from lmeraser_ray.errors import DataError, PictureError

WHERE = "the records in memory"
SPLIT, TEST = "split", "test"
"""Columns that say which rows are held out: a split's name, or true and false."""
_ONE_READER = threading.Lock()
"""Held while a PIL picture is encoded: two rows may share one, which reads its file when asked."""
Item = Callable[[], object]
"""Fetches a row, which the program's own code may do; called once."""


@dataclass(frozen=True, slots=True)
class HeldRecords:
    """Records in memory. columns: the names of a table's columns, None for pairs of picture and
    label; rows: begins an iteration over the rows, each a mapping of the columns that are asked
    for, or a pair; classes: the names of a column's classes by number, where the container has
    them."""

    columns: tuple[str, ...] | None
    rows: Callable[[Sequence[str]], Iterator[Item]]
    classes: Callable[[str], tuple[str, ...]]

    @classmethod
    def of(cls, records: Any) -> "HeldRecords":
        """Take a data frame, an Arrow table, a mapping of columns, a data set or a list of rows (a
        mapping, or a pair of picture and label). Errors: `TypeError` for anything else, `DataError`
        for columns of unequal length."""
        table = _table(records)
        if table is not None:
            names, column = table
            return cls(
                names, functools.partial(_zipped, column), functools.partial(_of_arrow, records)
            )
        single = isinstance(records, str | UserString | bytes | bytearray | Path | Image.Image)
        if single or not (hasattr(records, "__getitem__") and hasattr(records, "__len__")):
            raise TypeError(
                f"data is a bare {type(records).__name__}, expected fields of the section, or "
                "records: a data frame, an Arrow table, a mapping of columns, a data set or a list "
                "of (picture, label)."
            )
        first = fetched(next(_items(records)), 0) if len(records) else None
        columns = tuple(map(str, first)) if isinstance(first, Mapping) else None
        return cls(columns, lambda _: _items(records), functools.partial(_classes, records))

    def splits(self) -> dict[str, list[int] | None]:
        """The rows of each split, training first; all, under no name, where no column says it.
        Errors: `DataError` that names the row."""
        found = [name for name in (SPLIT, TEST) if name in (self.columns or ())]
        if len(found) > 1:
            raise DataError(
                f"{WHERE}: the columns {SPLIT!r} and {TEST!r} both say what is held out: drop one."
            )
        if not found:
            return {"": None}
        check_present(found[0], self.columns or (), WHERE, "rename it")
        places: dict[str, list[int]] = {TRAIN: []}
        for number, fetch in enumerate(self.rows(found)):
            item = fetched(fetch, number)
            value = plain(item[found[0]]) if isinstance(item, Mapping) else None
            places.setdefault(_split(value, found[0], number), []).append(number)
        return dict(places)

    def names(self, config: DataConfig) -> RowNames:
        """How the rows get their ids: as in Parquet files."""
        return RowNames.by(config, usual=USUAL_ID in (self.columns or ()))


def memory_entries(
    held: HeldRecords,
    places: Sequence[int] | None,
    *,
    config: DataConfig,
    names: RowNames | None = None,
) -> Iterator[SourceEntry | Fault]:
    """The rows at some places, in order (None: all), and what is wrong with one that cannot be a
    record. names: gives rows their ids. Errors: `DataError` where a column is missing."""
    names = names or held.names(config)
    wanted = read_columns(config, names.column)
    if held.columns is None:
        refuse_columns(config, names)
    else:
        check_columns(config, names.column, held.columns, WHERE)
    classes = ClassNames(held.classes(config.label_column))
    kept = None if places is None else frozenset(places)
    for number, fetch in enumerate(held.rows(wanted)):
        if kept is None or number in kept:
            try:
                row = row_of(fetched(fetch, number), number, wanted, config)
                yield row_entry(row, config, names, classes)
            except DataError as error:
                yield Fault(error, alone=True)


def refuse_columns(config: DataConfig, names: RowNames) -> None:
    """Errors: `DataError` where pairs of picture and label are to have further columns."""
    if config.subject_column or config.permanent_column or names.column is not None:
        raise DataError(
            f"{WHERE}: pairs of picture and label have no further columns: give a data frame or a "
            "mapping of columns, or leave data.id_column, data.subject_column and "
            "data.permanent_column out."
        )


def fetched(item: Item, number: int) -> object:
    """Fetch a row. Errors: `PictureError` where the program's own code raises."""
    try:
        return item()
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise PictureError(
            f"{WHERE}, row {number}: the data set does not give it ({reason}): look at its code."
        ) from error


def row_of(item: object, number: int, wanted: Sequence[str], config: DataConfig) -> Row:
    """A row as the reading of Parquet files knows it. Errors: `DataError` where it is none."""
    where = f"{WHERE}, row {number}"
    if isinstance(item, tuple | list) and len(item) == 2:
        item = dict(zip((config.image_column, config.label_column), item, strict=True))
    if not isinstance(item, Mapping):
        many = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise DataError(
            f"{where}: it is a {type(item).__name__}{many}, expected a pair of picture and label, "
            "or a mapping by column."
        )
    for name in wanted:
        check_present(name, list(map(str, item)), where)
    cells = {name: _Name(item[name]) for name in wanted if name != config.image_column}
    return Row(
        number, where, {**cells, config.image_column: _Shown(item[config.image_column], where)}
    )


@dataclass(frozen=True, slots=True)
class _Name:
    """A cell that names something."""

    value: object

    def as_py(self) -> object:
        """As Python has it, None where there is none."""
        return plain(self.value)


class _Shown:
    """A cell that is a picture."""

    def __init__(self, value: object, where: str) -> None:
        self.value, self.where = value, where
        self.found: object = None

    def as_py(self) -> object:
        """The encoded picture, {bytes, path} as they are, None where there is none. Errors:
        `DataError` that names the row."""
        if self.found is None:
            value = plain(self.value)
            known = value is None or (isinstance(value, dict) and "bytes" in value)
            self.found = value if known else self._encoded(value)
        return self.found

    def _encoded(self, value: object) -> bytes:
        try:
            with _ONE_READER if isinstance(value, Image.Image) else nullcontext():
                return encoded(value)
        except DataError as error:
            raise type(error)(f"{self.where}: {error}") from error
        except TypeError as error:
            raise PictureError(f"{self.where}: {error}") from error


def plain(value: Any) -> Any:
    """A cell's value as Python has it: a number out of its array, and None for what pandas shows
    as missing."""
    if hasattr(value, "as_py"):
        value = value.as_py()
    if getattr(value, "ndim", None) == 0 and (
        isinstance(value, np.ndarray | np.generic) or is_tensor(value)
    ):
        value = value.item()
    missing = type(value).__name__ in ("NAType", "NaTType")
    return None if missing or (isinstance(value, float) and math.isnan(value)) else value


def _split(value: object, column: str, number: int) -> str:
    """The usual name of a row's split. Errors: `DataError` that names the row."""
    if column == TEST and isinstance(value, bool):
        return TEST if value else TRAIN
    found = known_split(value) if column == SPLIT and isinstance(value, str) else None
    if found is None:
        expected = "true or false" if column == TEST else "train, validation or test"
        raise DataError(
            f"{WHERE}, row {number}: the column {column!r}, which says what is held out, has "
            f"{str(value)[:40]!r}, expected {expected}: correct it, or rename the column."
        )
    return found


def _table(records: Any) -> tuple[tuple[str, ...], Callable[[str], Any]] | None:
    """The names of a table's columns, and what gives one; None for what is no table."""
    if isinstance(records, Mapping):
        lengths = {str(name): _length(column, name) for name, column in records.items()}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name!r} {length:,}" for name, length in lengths.items())
            raise DataError(f"{WHERE}: the columns have unequal lengths ({shown[:300]}).")
        return tuple(lengths), {str(name): column for name, column in records.items()}.__getitem__
    if hasattr(records, "column_names") and hasattr(records, "to_batches"):  # Arrow
        return tuple(records.column_names), records.column
    if hasattr(records, "columns") and hasattr(records, "itertuples"):  # pandas
        columns = {str(name): name for name in records.columns}
        return tuple(map(str, records.columns)), lambda name: records[columns[name]]
    return None


def _length(column: Any, name: object) -> int:
    """The length of a column. Errors: `TypeError` for a bare text, and for what has none."""
    if isinstance(column, str | UserString | bytes | bytearray) or not hasattr(column, "__len__"):
        raise TypeError(
            f"the column {name!r} is a bare {type(column).__name__}, expected several values: give "
            "a list, even of one."
        )
    return len(column)


def _zipped(column: Callable[[str], Any], wanted: Sequence[str]) -> Iterator[Item]:
    """The rows of a table, of the columns that are asked for."""
    for values in zip(*(column(name) for name in wanted), strict=True):
        yield functools.partial(dict, zip(wanted, values, strict=True))


def _items(records: Any) -> Iterator[Item]:
    """The items of a data set."""
    for number in range(len(records)):
        yield functools.partial(records.__getitem__, number)


def _of_arrow(records: Any, column: str) -> tuple[str, ...]:
    """The names of a column's classes in an Arrow table's metadata; none of another table."""
    schema = getattr(records, "schema", None)
    return () if schema is None else ClassNames.read(schema, column, WHERE).names


def _classes(records: Any, column: str) -> tuple[str, ...]:
    """The names of a data set's classes: torchvision's `classes`, also below a subset, or the
    names in Hugging Face's `features`."""
    feature = (getattr(records, "features", None) or {}).get(column)
    while not hasattr(records, "classes") and hasattr(records, "dataset"):
        records = records.dataset
    found = getattr(feature, "names", None) or getattr(records, "classes", None) or ()
    return tuple(map(str, found))
