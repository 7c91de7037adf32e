"""`export`: the published model in a folder that answers without the workspace, with a model card.

    published state ─► constituents, prototypes, classes ─► DIR (`exported_model`)
    evaluate, ledger ─────────────────────────────────────► DIR/README.md

Invariants: no record, no key, no digest of records leaves; a model is not exported while an erasure
is asked for that it does not have yet; whoever lets features of single records out says so. What
was exported is outside of the workspace, and no erasure reaches it: the card says that too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from lmeraser_ray import __version__
from lmeraser_ray.config import AdaptiveConfig, Config, DataConfig, NeighborsConfig
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.partition.stage import read_clusters
from lmeraser_ray.operations.evaluate import evaluate_state
from lmeraser_ray.operations.exported_model import (
    CARD,
    CONFIG,
    FORMAT,
    TENSORS,
    prototypes_name,
    tensor_name,
)
from lmeraser_ray.operations.requests import search
from lmeraser_ray.operations.workspace_report import require_outside
from lmeraser_ray.pipeline.answering import require_an_answer, servings_of
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import Published
from lmeraser_ray.storage.files import disk_errors, make_folder
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.whole_file import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERMANENT = "permanent"
"""Stands for the column of permanent records, which answering does not need."""
LICENSE = re.compile(r"[a-z0-9][a-z0-9.\-]{0,63}")


@dataclass(frozen=True)
class Exported:
    """What was written. state: the keyed hash of the fingerprint of the published state; bytes: of
    the tensors; features: how many features of single records are in them."""

    folder: Path
    state: str
    classes: tuple[str, ...]
    constituents: int
    bytes: int
    features: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(self.folder / name for name in (CARD, CONFIG, TENSORS))


def export(
    session: Session, folder: Path, *, with_features: bool = False, license_id: str = "other"
) -> Exported:
    """Write the published model to a new folder.

    with_features: also where features of single records are part of the model; license_id: the
    license that the card names, by Hugging Face's identifier.

    Errors: `ConfigError` where the folder holds something or lies within the workspace, where a
    license is none, and where single records' features would leave unasked; `ExecutionError` while
    erasures wait to be published; `DataError` where nothing can answer.
    """
    require_outside(session, folder)
    require_empty(folder)
    if not LICENSE.fullmatch(license_id):
        raise ConfigError(
            f"The license {license_id!r} is no identifier of Hugging Face's: give one such as "
            "apache-2.0, or other."
        )
    session.folder.require_state()

    def write(state: Published) -> Exported:
        require_no_open_erasure(session)
        return export_state(session, state, folder, with_features, license_id)

    return session.consistently(write)


def require_empty(folder: Path) -> None:
    """Errors: `ConfigError` where a folder to be written is there and holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} holds something already: name a new or an empty folder.")


def require_no_open_erasure(session: Session) -> None:
    """Errors: `ExecutionError` where the published state may have learned from records that a
    request wants erased."""
    waiting = [
        each
        for each in search(session, RequestSearch())
        if each.state.is_unpublished or (each.state is State.FAILED and each.publication is None)
    ]
    if waiting:
        raise ExecutionError(
            f"Erasure requests that are not published yet: {len(waiting):,}. No erasure reaches an "
            "exported model: run `lmeraser queue run` first, or close them (`lmeraser refuse`)."
        )


def export_state(
    session: Session, state: Published, folder: Path, with_features: bool, license_id: str
) -> Exported:
    """Write one published state."""
    from lmeraser_ray.operations.reporting.model_card import card_of
    from lmeraser_ray.operations.reporting.page_facts import named_state

    require_an_answer(session.folder, state)
    store, config, manifest = session.folder.store, session.config(), state.answering
    features = features_in(store, config, state.manifest)
    if features and not with_features:
        raise ConfigError(
            f"This model has features of {features:,} single records in it (prototypes that are "
            "one record's feature, or neighbours): train another system, such as one with "
            "partition.prototype mean and larger shards, or give --with_features if they may leave."
        )
    with session.database() as database:
        keyed, published = named_state(database, state.manifest.fingerprint)
    index = RecordIndex.read(store, [one.bucket for one in state.manifest.buckets])
    evaluation = evaluate_state(session, state)
    tensors, about = packed(store, manifest)
    data = save(tensors)
    classes = tuple(sorted(index.training_labels))
    told = {
        **about,
        "format": FORMAT,
        "program": f"lmeraser_ray {__version__}",
        "state": keyed,
        "configuration": answering_configuration(config),
        "backbone": {**asdict(manifest.backbone), "spec": manifest.backbone.spec.facts()},
        "classes": list(classes),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    done = Exported(folder, keyed, classes, len(about["constituents"]), len(data), features)
    card = card_of(
        keyed, len(classes), features, config, state.manifest, evaluation, published, license_id
    )
    with disk_errors(folder):
        make_folder(folder)
    write_whole(folder / TENSORS, data)
    write_whole(folder / CARD, card)
    write_whole(folder / CONFIG, f"{json.dumps(told, indent=1, sort_keys=True)}\n".encode())
    return done


def features_in(store: Store, config: Config, manifest: Manifest) -> int:
    """How many features of one record, or of one person, the model of a state has in it: rows of
    neighbours, and prototypes that are a medoid or the mean of one."""
    found = 0
    for member, system in enumerate(config.members):
        own = manifest.only(member)
        if isinstance(system.learner, NeighborsConfig):
            found += own.training_records
        elif isinstance(system.partition, AdaptiveConfig) and own.partition:
            clusters = read_clusters(store, own.partition)
            sizes = np.bincount(clusters.sampled, minlength=len(clusters.prototypes))
            medoid = system.partition.prototype == "medoid"
            found += len(sizes) if medoid else int((sizes == 1).sum())
    return found


def packed(store: Store, manifest: Manifest) -> tuple[dict[str, "NDArray[Any]"], dict[str, Any]]:
    """The tensors of the shards that answer, and what says which is whose. A constituent that
    stands with several shards is there once."""
    items = list(dict.fromkeys(shard.constituent for shard in manifest.shards))
    at = {item: place for place, item in enumerate(items)}
    tensors, classes = dict[str, "NDArray[Any]"](), list[list[str]]()
    for place, item in enumerate(items):
        held = Constituent.from_bytes(store.read(item))
        classes.append(list(held.classes))
        named = {tensor_name(place, name): array for name, array in held.tensors.items()}
        tensors |= {name: np.ascontiguousarray(array) for name, array in named.items()}
    servings, systems = servings_of(store, manifest), list[Mapping[str, Any]]()
    for member in range(len(manifest.members)):
        serving = servings[member].serving if member in servings else None
        prototypes = serving.prototypes if serving else None
        if prototypes is not None:
            tensors[prototypes_name(member)] = np.ascontiguousarray(prototypes)
        cells = None if serving is None or serving.cells is None else serving.cells.tolist()
        shards = manifest.only(member).shards
        systems.append(
            {
                "numbers": [shard.number for shard in shards],
                "constituents": [at[shard.constituent] for shard in shards],
                "cells": cells,
                "prototypes": prototypes is not None,
            }
        )
    return tensors, {"constituents": classes, "systems": systems}


def answering_configuration(config: Config) -> dict[str, Any]:
    """What answering needs of a configuration: no path, no source, no partition."""
    plain = config.with_partitions([AdaptiveConfig() for _ in config.members])
    column = PERMANENT if config.wants_permanent else None
    data = DataConfig(
        source="memory",
        fit=config.data.fit,
        window=config.data.window,
        max_pixels=config.data.max_pixels,
        permanent_column=column,
    )
    kept = plain.without_operator_values().model_dump(mode="json")
    names = ("seed", "backbone", "learner", "aggregation")
    return {
        **{name: kept[name] for name in names},
        "data": data.model_dump(mode="json", exclude_defaults=True),
    }
