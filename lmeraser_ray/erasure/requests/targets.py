"""What is to be erased, as people name it: record ids and subjects, typed or in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmeraser_ray.data.ids import read_ids, typed_name


@dataclass(frozen=True)
class ErasureTargets:
    """What is to be erased: record ids, and subjects with all their records."""

    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()


def parse_targets(records: Sequence[str], subjects: Sequence[str]) -> ErasureTargets:
    """Ids as a person typed them: parts between commas, white space around them dropped, repeats
    dropped."""

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
    """Typed ids and those of files of ids, one a line. Errors: `ConfigError` where a file cannot be
    read."""
    typed = parse_targets(records, subjects)
    more, people = read_ids(file, "--file"), read_ids(subjects_file, "--subjects_file")
    return ErasureTargets(
        tuple(dict.fromkeys((*typed.records, *sorted(more)))),
        tuple(dict.fromkeys((*typed.subjects, *sorted(people)))),
    )
