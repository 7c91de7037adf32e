"""The person that a record is about, and the side of the split that this person is on.

Place in the flow: between a source's entries and the records. Invariants: a subject is a function
of the record id and the configuration; the side is a function of the seed and the subject alone, so
that a deletion moves no other record, and all pictures of one person are on one side.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path

from lmeraser_ray.config import DataConfig
from lmeraser_ray.data.ids import clean_name
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.digests import keyed_hash, seeded_key, unit_interval

HEADER = ["record_id", "subject_id"]

SubjectResolver = Callable[[str, str], str]
"""Takes a record id and the place that an error names; returns the subject id."""


def subject_resolver(config: DataConfig) -> SubjectResolver:
    """The rule that the configuration sets: a CSV file, a regular expression, or the record id
    itself.

    `subject_column` is the Parquet source's own; here it counts as no rule. The CSV file is read
    now. Raises `ConfigError` for an invalid expression and `DataError` for a CSV file that cannot
    be used; the resolver raises `DataError`, naming the record.
    """
    if config.subjects_file is not None:
        return _by_file(config.subjects_file)
    if config.subject_pattern is not None:
        return _by_pattern(config.subject_pattern)
    return lambda record_id, _: record_id


def is_test_subject(seed: int, subject_id: str, fraction: float) -> bool:
    """Whether the subject is held out for testing: its keyed hash in [0, 1) lies below
    `fraction`."""
    return unit_interval(keyed_hash(seeded_key(seed, "split"), subject_id)) < fraction


def _by_file(path: Path) -> SubjectResolver:
    subjects = _read_subjects(path)

    def resolve(record_id: str, where: str) -> str:
        try:
            return subjects[record_id]
        except KeyError:
            raise DataError(
                f"{where}: the record id {record_id!r} is not in {path}: add its line (a record "
                "that is held out has the name of its split before its id, as `test/`), or exclude "
                "the record."
            ) from None

    return resolve


def _read_subjects(path: Path) -> dict[str, str]:
    """Record id to subject id. Raises `DataError` naming the file and the line."""
    subjects: dict[str, str] = {}
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the header.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if header != HEADER:
                raise DataError(
                    f"{path}: the first line is {','.join(header)[:80]!r}, expected the header "
                    f"{','.join(HEADER)!r}: add it."
                )
            for row in rows:
                if row:
                    _add_subject(subjects, row, where=f"{path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path}: the subjects cannot be read ({error}): give a CSV file in UTF-8."
        ) from error
    return subjects


def _add_subject(subjects: dict[str, str], row: list[str], *, where: str) -> None:
    if len(row) != len(HEADER):
        raise DataError(
            f"{where}: {len(row)} columns, expected {len(HEADER)}: put names that hold commas in "
            "quotes."
        )
    record_id = clean_name(row[0], what="record id", where=where)
    subject = clean_name(row[1], what="subject id", where=where)
    known = subjects.setdefault(record_id, subject)
    if known != subject:
        raise DataError(
            f"{where}: the record id {record_id!r} has the subject {subject!r} here and {known!r} "
            "before: keep one line."
        )


def _by_pattern(pattern: str) -> SubjectResolver:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"data.subject_pattern {pattern!r} is not a regular expression ({error}): correct it."
        ) from error
    group: str | int = (
        "subject" if "subject" in expression.groupindex else min(expression.groups, 1)
    )

    def resolve(record_id: str, where: str) -> str:
        match = expression.search(record_id)
        # A group within an alternative can take no part in a match.
        if match is None or match[group] is None:
            raise DataError(
                f"{where}: data.subject_pattern {pattern!r} finds no subject in the record id "
                f"{record_id!r}: correct it."
            )
        return clean_name(match[group], what="subject id", where=where)

    return resolve
