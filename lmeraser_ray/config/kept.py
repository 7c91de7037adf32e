"""The configuration that a workspace or a backup keeps, as a command may use it.

    configuration.json ──read_kept──► Config, and what it named and may not name

Place in the flow: between the file and every command but `train`. Invariant: whoever wrote the file
chooses no machine that a process connects to and no file that it loads (`OperatorOnly`); a key that
comes twice hides no other value.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from lmeraser_ray.config.configuration import Config


@dataclass(frozen=True)
class KeptConfig:
    """A configuration of which nobody has to trust who wrote it. ignored: the values that it named
    and that only the operator may name, by dotted name."""

    config: Config
    ignored: Mapping[str, str]


def read_kept(data: bytes) -> KeptConfig:
    """Read the bytes of a `configuration.json`. Errors: `ValueError` where they are none."""
    found = Config.model_validate_json(data)  # first: it bounds the nesting
    json.loads(data, object_pairs_hook=refuse_twice)
    return KeptConfig(decided(found.without_operator_values()), dict(found.operator_values()))


def decided(config: Config) -> Config:
    """A workspace's configuration with the unit and the folding that it has: one that names none,
    of a release before 0.8.0, has the record, and folds nothing."""
    return config.with_fold(kept=False).with_partitions(
        [
            part if part.unit else part.model_copy(update={"unit": "record"})
            for part in (member.partition for member in config.members)
        ]
    )


def refuse_twice(pairs: list[tuple[str, object]]) -> None:
    """Errors: `ValueError` where a key of a JSON object comes twice."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")


def say_ignored(file: str, ignored: Mapping[str, str]) -> list[str]:
    """A sentence for each value that was not taken from `file`, for who may want to give it."""
    return [
        f"{file} names {name} {value!r}, which is taken from no workspace and no backup: if it is "
        f"yours, give --{name}."
        for name, value in ignored.items()
    ]
