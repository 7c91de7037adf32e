"""`compare`: systems side by side on one data set and backbone: accuracy against the price of
forgetting.

systems × varied values × seeds → the real flow in one store → a row each → compare.json,
compare.csv, compare.md
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.data.ingest import ingest
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.pipeline.flow import load_inputs, refused
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import NoTombstones
from lmeraser_ray.storage.paths import require_disk
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.curves import accuracy_by_epoch
from lmeraser_ray.study.machine import describe
from lmeraser_ray.study.measure import Extent, measure, settings
from lmeraser_ray.study.study_folder import StudyFolder, digest_of
from lmeraser_ray.study.table import summary, to_csv, to_markdown
from lmeraser_ray.study.variants import Variant


@dataclass(frozen=True)
class CompareRequest:
    """What is compared: variants under seeds, and how much of each is measured.

    curves: accuracy by epoch too, for the first seed; keep: leave the store when all is done.
    """

    variants: Sequence[Variant]
    seeds: Sequence[int]
    extent: Extent = field(default_factory=Extent)
    curves: bool = False
    keep: bool = False

    def traces(self, seed: int) -> bool:
        """Whether the course of a seed's training is recorded."""
        return self.curves and seed == self.seeds[0]


@dataclass(frozen=True)
class Comparison:
    """The runs of each system by seed, each system's summary (see `study.table`), and what could
    not be measured, with the reason."""

    runs: dict[str, dict[int, dict[str, Any]]]
    systems: dict[str, dict[str, dict[str, float | None]]]
    files: tuple[Path, ...]
    failed: dict[str, str] = field(default_factory=dict)


def compare(session: Session, question: CompareRequest) -> Comparison:
    """Measure whatever was not measured yet in the study `session.root`, then write the tables of
    all that it holds.

    A study grows: what earlier commands measured on the same data and backbone stays in the tables.
    """
    study = StudyFolder(require_disk(session.root))
    configs = {
        (v.name, seed): v.config(seed) for seed in question.seeds for v in question.variants
    }  # all errors come first
    abouts = {
        v.name: {"name": v.name, "system": v.system, "changes": dict(v.changes)}
        for v in question.variants
    }
    made = {
        (name, seed): [settings(config, question.extent), question.traces(seed)]
        for (name, seed), config in configs.items()
    }
    waiting = [
        (name, seed)
        for name, seed in configs
        if study.recall(f"{name}.{seed}", made[name, seed]) is None
    ]
    failed = refused({name: configs[name, seed] for name, seed in waiting})
    for name, reason in failed.items():
        session.progress.say(f"{name} was not measured: {reason}")
    if {name for name, _ in configs} == failed.keys():
        raise ConfigError(f"No system could be measured: {next(iter(failed.values()))}")
    waiting = [(name, seed) for name, seed in waiting if name not in failed]
    study.create()
    if waiting:
        with study.store(keep=question.keep) as store, one_cluster(configs[waiting[0]]):
            for name, seed in waiting:
                session.progress.say(f"{name}, seed {seed}")
                config = configs[name, seed]
                try:
                    result = run(session, store, name, config, question)
                except ConfigError as error:  # this system does not suit the data: the others go on
                    failed[name] = str(error)
                    continue
                about = {
                    **abouts[name],
                    "seed": seed,
                    "on": digest_of(subject_of(config)),
                    "made": made_of(config),
                }
                study.note(f"{name}.{seed}", made[name, seed], result, about)
    elif not question.keep:
        study.discard()
    return written(study, {name: config for (name, _), config in configs.items()}, failed)


def run(
    session: Session, store: Store, name: str, config: Config, question: CompareRequest
) -> dict[str, Any]:
    """Measure one system under one seed."""
    inputs = load_inputs(config)
    public = inputs.prototypes(store)
    buckets = ingest(config, store, NoTombstones()).buckets
    inputs.check_labels(RecordIndex.read(store, buckets))
    with session.flow(store, config, inputs.card, public) as flow:
        result = measure(name, flow, buckets, question.extent)
        if question.traces(config.seed):
            manifest = flow.evaluate(buckets, None).manifest
            result["curve"] = accuracy_by_epoch(flow, buckets, manifest)
    return result


@contextmanager
def one_cluster(config: Config) -> Iterator[None]:
    """One Ray cluster for all systems, instead of one each."""
    if config.execution.engine != "ray":
        yield
        return
    from lmeraser_ray.distributed.cluster import connect, disconnect

    ours = connect(config.execution)
    try:
        yield
    finally:
        if ours:
            disconnect()


def subject_of(config: Config) -> dict[str, Any]:
    """What a study is about, as a JSON value: the data and the backbone. How features are read off
    it may differ between systems."""
    backbone = config.backbone
    return {
        "data": config.data.model_dump(mode="json"),
        "backbone": [backbone.name, backbone.weights, backbone.seed, backbone.input_size],
    }


def made_of(config: Config) -> str:
    """SHA-256 over what a configuration is, its seed apart: only runs of one configuration are
    averaged."""
    return digest_of({name: value for name, value in config.identity().items() if name != "seed"})


def written(study: StudyFolder, configs: dict[str, Config], failed: dict[str, str]) -> Comparison:
    """The tables of all runs on the data and backbone of `configs`, which are the systems that were
    asked for, by name."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    abouts: dict[str, dict[str, Any]] = {}
    made = {name: made_of(config) for name, config in configs.items()}
    config = next(iter(configs.values()))
    for about, result in study.noted():
        if about["on"] == digest_of(subject_of(config)) and about["made"] == made.setdefault(
            about["name"], about["made"]
        ):
            abouts[about["name"]] = {"system": about["system"], "changes": about["changes"]}
            runs.setdefault(about["name"], {})[about["seed"]] = result
    found = {name: summary(list(by_seed.values())) for name, by_seed in runs.items()}
    subject = {"data": config.data.source, "backbone": config.backbone.name}
    data = {
        "machine": describe(),
        "subject": subject,
        "variants": abouts,
        "systems": found,
        "runs": runs,
    }
    files = (
        study.write("compare.json", json.dumps(data, indent=1).encode()),
        study.write("compare.csv", to_csv(found).encode()),
        study.write("compare.md", (to_markdown(found) + "\n").encode()),
    )
    return Comparison(runs, found, files, failed)
