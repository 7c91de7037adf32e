"""`compare`: systems side by side on one data set and backbone: accuracy against the price of
forgetting.

    systems × varied values × seeds → the real flow in one store → a row each
        → compare.json, compare.csv, compare.md

The variants are made of one configuration, data, backbone and execution, below which each system
is laid:

>>> from lmeraser_ray.config.quickstart import QUICKSTART
>>> from lmeraser_ray.study.variants import variants
>>> found = variants(QUICKSTART, ["ridge"], [], ["partition.shards=1,10"])
>>> [variant.name for variant in found]
['ridge_partition.shards=1', 'ridge_partition.shards=10']
>>> compare(Session(Path("study")), CompareRequest(found, seeds=[0])).systems  # doctest: +SKIP
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmeraser_ray.config import Config
from lmeraser_ray.config.several import several
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.engines import cluster
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import require_disk
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.comparison_table import caption, summary, to_csv, to_markdown
from lmeraser_ray.study.ingested_flow import On, ingested_flow, refused
from lmeraser_ray.study.machine import describe
from lmeraser_ray.study.measure import Extent, measure, settings
from lmeraser_ray.study.study_folder import StudyFolder, digest_of
from lmeraser_ray.study.variants import Variant

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class CompareRequest:
    """What is compared: variants under seeds, and how much of each is measured.

    curves: for how many of the seeds, the first ones, accuracy by epoch is measured too; keep:
    leave the store when all is done; on: the records to judge by. validation: some of the training
    people, held out (`sweep.fraction`), and no test record is read, so that what is chosen by the
    comparison has seen none.
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    extent: Extent = field(default_factory=Extent)
    curves: int = 0
    keep: bool = False
    on: On = "test"

    def __post_init__(self) -> None:
        """Errors: `TypeError` where variants or seeds are a bare text."""
        several(self.variants, "variants", Variant)
        several(self.seeds, "seeds", int)

    def curve(self, seed: int) -> bool:
        """Whether accuracy by epoch is measured under a seed."""
        return seed in self.seeds[: self.curves]


@dataclass(frozen=True)
class Comparison:
    """What a study holds after `compare`.

    runs: each system's measurements by seed; systems: the summary of each (see
    `study.comparison_table`); caption: what its columns are of; failed: the reason for each system
    that could not be measured.
    """

    runs: dict[str, dict[int, dict[str, Any]]]
    systems: dict[str, dict[str, dict[str, float | None]]]
    files: tuple[Path, ...]
    caption: str
    failed: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} not measured" if self.failed else ""
        return f"Comparison({', '.join(self.systems)}{failed})"

    def to_pandas(self) -> "DataFrame":
        """Return a row a system: each column's mean over seeds, and the half width of its 95%
        interval in the column `… ±95%`."""
        from pandas import DataFrame

        rows = []
        for name, cells in self.systems.items():
            row: dict[str, object] = {"system": name}
            for column, cell in cells.items():
                row |= {column: cell["mean"], f"{column} ±95%": cell["interval"]}
            rows.append(row)
        return DataFrame(rows)

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.caption)}</p>{self.to_pandas().to_html()}"


def compare(session: Session, request: CompareRequest) -> Comparison:
    """Measure what the study `session.root` does not hold yet, then write the tables of all that it
    holds: what earlier commands measured on the same data and backbone stays in them.

    Errors: `ConfigError` where a variant's configuration is wrong, before anything is measured;
    those of ingest and training. A system that does not suit the data or the backbone is reported
    in `failed`, and the others go on.
    """
    study = StudyFolder(require_disk(session.root))
    configs = {
        (v.name, seed): v.config(seed) for seed in request.seeds for v in request.variants
    }  # all errors come first
    abouts = {
        v.name: {"name": v.name, "system": v.system, "changes": dict(v.changes)}
        for v in request.variants
    }
    made = {
        (name, seed): [settings(config, request.extent), request.curve(seed), request.on]
        for (name, seed), config in configs.items()
    }
    waiting = [
        (name, seed)
        for name, seed in configs
        if study.recall(f"{name}.{seed}", made[name, seed]) is None
    ]
    failed = refuse_all(session, {name: configs[name, seed] for name, seed in waiting}, configs)
    waiting = [(name, seed) for name, seed in waiting if name not in failed]
    study.create()
    if waiting:
        with study.store(keep=request.keep) as store, cluster(configs[waiting[0]].execution):
            for name, seed in waiting:
                session.progress.say(f"{name}, seed {seed}")
                config = configs[name, seed]
                try:
                    result = run(session, store, name, config, request)
                except ConfigError as error:
                    failed[name] = str(error)
                    continue
                about = {
                    **abouts[name],
                    "seed": seed,
                    "on": digest_of(subject_of(config, request.on)),
                    "made": made_of(config),
                }
                study.note(f"{name}.{seed}", made[name, seed], result, about)
    elif not request.keep:
        study.discard()
    named = {name: config for (name, _), config in configs.items()}
    return written(study, named, failed, request.on)


def refuse_all(
    session: Session, waiting: Mapping[str, Config], all_of: Iterable[tuple[str, int]]
) -> dict[str, str]:
    """Return why some of the waiting systems cannot be trained, by name, and say so. Errors:
    `ConfigError` where that is so of all systems."""
    failed = refused(waiting)
    for name, reason in failed.items():
        session.progress.say(f"{name} was not measured: {reason}")
    if {name for name, _ in all_of} == failed.keys():
        raise ConfigError(f"No system could be measured: {next(iter(failed.values()))}")
    return failed


def run(
    session: Session, store: Store, name: str, config: Config, request: CompareRequest
) -> dict[str, Any]:
    """Measure one system under one seed."""
    with ingested_flow(session, store, load_inputs(config), request.on) as (flow, buckets):
        curve = request.curve(config.seed)
        return measure(name, flow, buckets, request.extent, curve=curve, units=True)


def subject_of(config: Config, on: On) -> dict[str, Any]:
    """Return what a study is about, as a JSON value: the data, the records to judge by and the
    backbone. Systems may differ in how they read features off the backbone."""
    backbone = config.backbone
    return {
        "unit": "work",
        **({"on": on, "fraction": config.sweep.fraction} if on == "validation" else {}),
        "data": config.data.model_dump(mode="json"),
        "backbone": [backbone.name, backbone.weights, backbone.seed, backbone.input_size],
    }


def made_of(config: Config) -> str:
    """Return a SHA-256 over a configuration without its seed: only runs of one configuration are
    averaged."""
    return digest_of({name: value for name, value in config.identity().items() if name != "seed"})


def written(
    study: StudyFolder, configs: dict[str, Config], failed: dict[str, str], on: On
) -> Comparison:
    """Write the tables of all runs on the data and backbone of `configs`, the requested systems by
    name: these first, in the order in which they were asked for."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    abouts: dict[str, dict[str, Any]] = {}
    made = {name: made_of(config) for name, config in configs.items()}
    config = next(iter(configs.values()))
    for about, result in study.noted():
        if about["on"] == digest_of(subject_of(config, on)) and about["made"] == made.setdefault(
            about["name"], about["made"]
        ):
            abouts[about["name"]] = {"system": about["system"], "changes": about["changes"]}
            runs.setdefault(about["name"], {})[about["seed"]] = result
    runs = {name: runs[name] for name in dict.fromkeys((*configs, *runs)) if name in runs}
    found = {name: summary(list(by_seed.values()), on) for name, by_seed in runs.items()}
    subject = {"data": config.data.source, "backbone": config.backbone.name, "on": on}
    data = {
        "unit": "work",
        "machine": describe(),
        "subject": subject,
        "variants": abouts,
        "systems": found,
        "runs": runs,
    }
    said = caption((run for by_seed in runs.values() for run in by_seed.values()), on)
    files = (
        study.write("compare.json", json.dumps(data, indent=1).encode()),
        study.write("compare.csv", to_csv(found, on).encode()),
        study.write("compare.md", f"{to_markdown(found, on)}\n\n{said}\n".encode()),
    )
    return Comparison(runs, found, files, said, failed)
