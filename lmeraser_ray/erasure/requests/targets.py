"""The targets of an erasure as a person names them: record ids and subjects, typed or in files.

>>> parse_targets(["cat.png, dog.png", "cat.png"], ["alice"])
ErasureTargets(records=('cat.png', 'dog.png'), subjects=('alice',))
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.config.several import several
from lmeraser_ray.data.ids import composed, read_ids, typed_name


@dataclass(frozen=True, init=False)
class ErasureTargets:
    """Record ids, and subjects with all their records: once each, in Unicode NFC."""

    records: tuple[str, ...]
    subjects: tuple[str, ...]

    def __init__(self, records: Iterable[str] = (), subjects: Iterable[str] = ()) -> None:
        """Errors: `TypeError` for a bare text, which would name its letters."""
        for name, values in (("records", records), ("subjects", subjects)):
            texts = several(values, name, str)
            object.__setattr__(self, name, tuple(dict.fromkeys(map(composed, texts))))


def parse_targets(records: Iterable[str], subjects: Iterable[str]) -> ErasureTargets:
    """Split typed ids at commas; drop white space around them, empty parts and repeats."""
    named = ErasureTargets(records, subjects)

    def parts(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                typed_name(part) for text in texts for part in text.split(",") if part.strip()
            )
        )

    return ErasureTargets(parts(named.records), parts(named.subjects))


def read_targets(
    records: Iterable[str], subjects: Iterable[str], file: Path | None, subjects_file: Path | None
) -> ErasureTargets:
    """Typed ids, together with those of files that hold one id a line. Errors: `ConfigError` where
    a file cannot be read."""
    typed = parse_targets(records, subjects)
    more, people = read_ids(file, "--file"), read_ids(subjects_file, "--subjects_file")
    return ErasureTargets(
        tuple(dict.fromkeys((*typed.records, *sorted(more)))),
        tuple(dict.fromkeys((*typed.subjects, *sorted(people)))),
    )
