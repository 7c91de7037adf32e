"""The targets of an erasure as a person names them: record ids and subjects, typed or in files.

>>> parse_targets(["cat.png, dog.png", "cat.png"], ["alice"])
ErasureTargets(records=('cat.png', 'dog.png'), subjects=('alice',))
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.data.ids import read_ids, typed_name


@dataclass(frozen=True)
class ErasureTargets:
    """Record ids, and subjects with all their records."""

    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


def parse_targets(records: Sequence[str], subjects: Sequence[str]) -> ErasureTargets:
    """Split typed ids at commas; drop white space around them, empty parts and repeats."""

    def parts(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                typed_name(part) for text in texts for part in text.split(",") if part.strip()
            )
        )

    return ErasureTargets(parts(records), parts(subjects))


def read_targets(
    records: Sequence[str], subjects: Sequence[str], file: Path | None, subjects_file: Path | None
) -> ErasureTargets:
    """Typed ids, together with those of files that hold one id a line. Errors: `ConfigError` where
    a file cannot be read."""
    typed = parse_targets(records, subjects)
    more, people = read_ids(file, "--file"), read_ids(subjects_file, "--subjects_file")
    return ErasureTargets(
        tuple(dict.fromkeys((*typed.records, *sorted(more)))),
        tuple(dict.fromkeys((*typed.subjects, *sorted(people)))),
    )
