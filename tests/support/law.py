"""What the tests of the law share: train, unlearn, train without, and compare bytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.models.partition.sampling import sampled_records
from lmeraser_ray.models.partition.without import Remaining
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.work import remaining_of
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.shards_of_state import shards_of_state
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.paths import name_below
from tests.support.world import World


def held(root: Path) -> dict[str, bytes]:
    """Everything below a workspace that is state: the objects and the pointer, by name."""
    objects = {
        name_below(path, root): path.read_bytes() for path in WorkspaceFolder(root).store.files()
    }
    return {**objects, "CURRENT": (root / "CURRENT").read_bytes()}


def expect_equal(one: Path, other: Path) -> None:
    """The law: the same fingerprint, and the very same files with the same bytes."""
    assert fingerprint(Session(one)) == fingerprint(Session(other))
    assert held(one) == held(other)


def trained_and_unlearned(
    world: World, requests: Sequence[ErasureTargets], **sections: dict[str, object]
) -> Path:
    """A workspace trained on everything, then told to forget."""
    root = world.space()
    train(Session(root), world.config(**sections))
    for request in requests:
        unlearn(Session(root), request)
    return root


def never_seen(world: World, ids: Sequence[str], **sections: dict[str, object]) -> Path:
    """A workspace that never saw these records."""
    root = world.space()
    train(Session(root), world.without(ids, **sections))
    return root


def index_of(root: Path) -> tuple[RecordIndex, set[str]]:
    """The live records of a workspace, and the ids of the sampled ones."""
    folder = WorkspaceFolder(root)
    manifest, config = folder.require_published(), folder.load_config()
    index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
    sampled = sampled_records(config.partition, config.seed, index)
    return index, set(index.names("record_id", np.flatnonzero(sampled)))


def shards_by_id(root: Path) -> dict[str, int]:
    """The shard of each record of a workspace, by id; -1 for a test record."""
    folder = WorkspaceFolder(root)
    manifest, config = folder.require_published(), folder.load_config()
    index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
    found = shards_of_state(folder.store, config, manifest, index)
    return dict(zip(index.names("record_id"), found.tolist(), strict=True))


def remaining(root: Path) -> Remaining:
    """What the published state would be without some records."""
    folder = WorkspaceFolder(root)
    manifest, config = folder.require_published(), folder.load_config()
    index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
    return remaining_of(folder.store, config, manifest, index)


def members(root: Path) -> list[list[str]]:
    """The record ids of each shard."""
    from safetensors.numpy import load

    folder = WorkspaceFolder(root)
    manifest = folder.require_published()
    index, _ = index_of(root)
    shard_of = np.concatenate(
        [load(folder.store.read(state.assignments))["shard"] for state in manifest.buckets]
    )
    return [
        index.names("record_id", np.flatnonzero(shard_of == k)) for k in range(len(manifest.shards))
    ]


def chosen(world: World, case: str) -> list[str]:
    """The records of a named case of U."""
    root = world.space()
    train(Session(root), world.config())
    index, sampled = index_of(root)
    training = index.names("record_id", index.training)
    if case == "sampled":
        return [next(name for name in training if name in sampled)]
    if case == "unsampled":
        return [next(name for name in training if name not in sampled)]
    if case == "test record":
        return index.names("record_id", np.flatnonzero(index.test))[:1]
    if case == "class":
        return [
            name for name, label in zip(world.ids, world.labels, strict=True) if label == "class-0"
        ]
    if case == "shard":
        return max(members(root), key=len)
    if case == "all but one class":
        return [
            name for name, label in zip(world.ids, world.labels, strict=True) if label != "class-1"
        ]
    if case == "all training records":
        return training
    return list(world.ids)
