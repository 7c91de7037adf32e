"""What `recommend` tries: every named system, with a few values of the fields that matter most for
it.

    named systems × `DIALS` − what the person has set → variants, and why some systems are none

Place in the flow: the variants go into a `sweep`. Invariants: a preset without a line in `DIALS` is
tried as it is, and a line without a preset, or a field that a system does not have, is no mistake:
neither a new nor a missing system changes anything here. A field that the file or the command line
sets is no dial.
"""

from collections.abc import Callable, Sequence

from lmeraser_ray.config import AdaptiveConfig, Config, presets
from lmeraser_ray.config.layers import Tree
from lmeraser_ray.config.options import FIELDS
from lmeraser_ray.config.several import several
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.partition.shard_count import FEW
from lmeraser_ray.study.variants import (
    SYSTEM,
    Axis,
    Variant,
    applies,
    fitting,
    sweep_variants,
    without_own_system,
)

PENALTIES = ("learner.penalty", ["0.01", "0.03", "0.1"])
SHARDS = "partition.shards"
LARGE_SAMPLE = 500
"""Sampled records from which on it takes long to say what deletions cost."""
Suits = Callable[[Config, RecordIndex], str | None]
"""Returns why a value does not suit the records, None where it does."""
DIALS: dict[str, tuple[Axis, ...]] = {
    "neighbors": (("learner.neighbors", ["1", "5"]),),
    "ridge": (PENALTIES,),
    "ridge-random": ((SHARDS, ["10", "30", "70"]),),
    "ridge-shards": ((SHARDS, ["30", "70", "140"]),),
    "lmeraser": ((SHARDS, ["30", "70", "140"]),),
    "random-mean": ((SHARDS, ["10", "30"]),),
    "random-hash": ((SHARDS, ["10", "30"]),),
}
"""Fields by system, each with the values that are tried; several fields: every combination."""


def candidates(
    base: Tree, overrides: Sequence[tuple[str, str]], names: Sequence[str] = ("all",)
) -> tuple[list[Variant], dict[str, str]]:
    """Return what to try, and for each system that is no candidate the reason, by name. names: of
    systems, or YAML files. Errors: `ConfigError` for a name that is none, and where no system
    suits the configuration."""
    wanted = several(names, "systems", str)
    chosen = presets.names() if wanted == ("all",) else list(dict.fromkeys(wanted))
    found: dict[str, Variant] = {}
    unsuited: dict[str, str] = {}
    for system in chosen:
        presets.read(system)
        try:
            for variant in of_system(base, overrides, system):
                found.setdefault(str(variant.config().identity()), variant)
        except ConfigError as error:
            unsuited[system] = str(error)
    if not found:
        raise ConfigError(f"No system suits: {next(iter(unsuited.values()))}")
    return list(found.values()), unsuited


def of_system(base: Tree, overrides: Sequence[tuple[str, str]], system: str) -> list[Variant]:
    """Return a system under its dials. Errors: `ConfigError`."""
    tree = presets.with_system(fitting(without_own_system(base), system, overrides), system)
    fixed = held(base, overrides)
    dials = [
        (name, values)
        for name, values in DIALS.get(system, ())
        if name in FIELDS and name not in fixed and applies(tree, name, overrides)
    ]
    return sweep_variants(base, overrides, [(SYSTEM, [system]), *dials])


def held(base: Tree, overrides: Sequence[tuple[str, str]]) -> set[str]:
    """Return the fields that a person has set."""
    return {name for name, _ in overrides} | set(named_in(without_own_system(base)))


def named_in(tree: Tree, prefix: str = "") -> list[str]:
    """Return the dotted names of the fields that a tree gives a value."""
    found = []
    for name, value in tree.items():
        dotted = f"{prefix}{name}"
        found += named_in(value, f"{dotted}.") if isinstance(value, dict) else [dotted]
    return found


def suiting(base: Tree, overrides: Sequence[tuple[str, str]]) -> Suits:
    """Return what says whether a candidate suits the records: a number of shards that a person has
    set does."""
    return too_many_sampled if SHARDS in held(base, overrides) else unsuitable


def suits_any(config: Config, index: RecordIndex) -> None:
    """Suit all records."""


def unsuitable(config: Config, index: RecordIndex) -> str | None:
    """Return why a candidate does not suit the records; None where it does."""
    return too_many_shards(config, index) or too_many_sampled(config, index)


def too_many_sampled(config: Config, index: RecordIndex) -> str | None:
    """Return why a sample does not suit the records: where it is most of them, most deletions
    cluster anew, and to compute what each costs takes minutes."""
    part, records = config.partition, len(index.training)
    if not isinstance(part, AdaptiveConfig) or part.sample_size < LARGE_SAMPLE:
        return None
    if 2 * part.sample_size <= records:
        return None
    return f"a sample of {part.sample_size:,} is more than half of {records:,} records"


def too_many_shards(config: Config, index: RecordIndex) -> str | None:
    """Return why a number of shards does not suit the records; None where it does."""
    shards, records = getattr(config.partition, "shards", None), len(index.training)
    if not shards or shards == 1 or records >= FEW * shards:
        return None
    return f"{shards} shards of {records:,} records would have fewer than {FEW} each on average"
