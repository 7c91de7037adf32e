"""A configuration as a program gives it: a path, a mapping or a `Config`, with fields by section.

    >>> given(None, learner={"epochs": 3, "prompt": {"width": 2}}, seed=1).learner.epochs
    3

The words are those of a YAML file, and so are the errors.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from lmeraser_ray.config import Config
from lmeraser_ray.config.options import FIELDS, load_config, override, read_yaml, with_overrides
from lmeraser_ray.config.presets import with_system
from lmeraser_ray.errors import ConfigError

Given = Config | str | Path | Mapping[str, Any] | None
Fields = Mapping[str, Any] | None


def given(
    config: Given,
    *,
    system: str | None = None,
    data: Fields = None,
    backbone: Fields = None,
    partition: Fields = None,
    learner: Fields = None,
    aggregation: Fields = None,
    execution: Fields = None,
    queue: Fields = None,
    seed: int | None = None,
) -> Config:
    """Return the configuration of a YAML file, a mapping or a `Config` (None: as the command line
    without `--config`), with a system's sections and the fields of sections. Errors:
    `ConfigError`."""
    sections = {
        "data": data,
        "backbone": backbone,
        "partition": partition,
        "learner": learner,
        "aggregation": aggregation,
        "execution": execution,
        "queue": queue,
        "seed": seed,
    }
    fields = {name: value for name, value in sections.items() if value is not None}
    pairs = list(pairs_of(fields))
    if config is None or isinstance(config, str | Path):
        return load_config(Path(config) if config else None, pairs, system=system)
    if isinstance(config, Config) and system is None:
        return override(config, pairs)
    tree = tree_of(config)
    return with_overrides(
        with_system(tree, system) if system else tree, pairs, source="the configuration"
    )


def with_records(data: object) -> tuple[Fields, object]:
    """Divide what `data` is given into the fields of the section and records in memory (None where
    there are none): a mapping is fields, `records` among them, and all else is records. Errors:
    `ConfigError` where fields name other records."""
    if data is None or isinstance(data, Mapping):
        fields = dict(data or {})
        records = fields.pop("records", None)
    else:
        fields, records = {}, data
    if records is None:
        return fields or None, None
    if twice := sorted({"source", "path", "test_path"} & fields.keys()):
        raise ConfigError(
            f"data.{twice[0]} names records, and others are given in memory: keep one of the two."
        )
    return {**fields, "source": "memory", "path": None, "test_path": None}, records


def tree_of(config: Given) -> dict[str, Any]:
    """Return a configuration as a new mapping of sections; empty for None. Errors:
    `ConfigError`."""
    match config:
        case None:
            return {}
        case Config():
            return config.model_dump(mode="json", exclude_unset=True)
        case str() | Path():
            return read_yaml(Path(config))
        case Mapping():
            return deepcopy(dict(config))
    raise ConfigError(
        f"the configuration is a {type(config).__name__}, expected the path of a YAML file, a "
        "mapping or a Config."
    )


def pairs_of(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield fields by their dotted name with their text, as options have them."""
    for name, value in fields.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, Mapping) and dotted not in FIELDS:
            yield from pairs_of(value, f"{dotted}.")
        else:
            yield dotted, text_of(value)


def text_of(value: object) -> str:
    """Return a value as an option's text."""
    if isinstance(value, str | Path):
        return str(value)
    if value is None or isinstance(value, bool | tuple | list | Mapping):
        return json.dumps(value, default=str)
    return str(value)
