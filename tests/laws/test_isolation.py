"""Law 4: exactly the shards whose membership changed are trained, and a constituent knows nothing
but its shard."""

from pathlib import Path

import numpy as np
import pytest

from lmeraser_ray.data.buckets import read_rows
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.flow import load_inputs, parts_of
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.store import Store
from tests.support.law import index_of, members
from tests.support.world import Recorder, World


def shards(root: Path) -> dict[str, frozenset[str]]:
    """Each shard's key and members."""
    keys = [shard.constituent.key for shard in WorkspaceFolder(root).require_published().shards]
    return dict(zip(keys, map(frozenset, members(root)), strict=True))


@pytest.mark.parametrize("at", range(0, 40, 5))
def test_exactly_the_changed_shards_are_trained(world: World, at: int) -> None:
    """After any deletion, what was trained is what has new members, no more and no less."""
    root, first, second = world.space(), Recorder(), Recorder()
    train(first.session(root), world.config())
    before = shards(root)
    assert sorted(first.trained) == sorted(before)
    done = unlearn(second.session(root), ErasureTargets((world.ids[at],)))
    after = shards(root)
    assert set(second.trained) == {
        key for key, group in after.items() if group not in before.values()
    }
    assert len(second.trained) == len(set(second.trained))
    assert all(before[key] == after[key] for key in before.keys() & after.keys())
    assert sorted(second.trained) == list(done.rebuilt)
    assert done.reused == len(after) - len(second.trained)
    assert second.features == 0


def test_an_unsampled_record_costs_its_shard_and_nothing_else(world: World) -> None:
    """The training work is the shard's remaining records times the epochs, and nothing is clustered
    again."""
    root = world.space()
    train(Session(root), world.config())
    index, sampled = index_of(root)
    for name in index.names("record_id", index.training):
        group = next(group for group in members(root) if name in group)
        labels = dict(zip(world.ids, world.labels, strict=True))
        if name not in sampled and len({labels[other] for other in group if other != name}) > 1:
            break
    recorder = Recorder()
    done = unlearn(recorder.session(root), ErasureTargets((name,)))
    assert not done.reclustered
    assert len(recorder.trained) == 1
    assert done.passes == (len(group) - 1) * world.config().learner.epochs


def test_a_test_record_trains_nothing(world: World) -> None:
    """Test records are erased by the same command and no constituent is touched."""
    root, recorder = world.space(), Recorder()
    train(Session(root), world.config())
    before = shards(root)
    index, _ = index_of(root)
    unlearn(
        recorder.session(root),
        ErasureTargets(tuple(index.names("record_id", np.flatnonzero(index.test)[:1]))),
    )
    assert recorder.trained == []
    assert shards(root) == before


def test_a_shard_trained_alone_is_the_same(world: World) -> None:
    """A constituent that is trained in another workspace, from its members alone, has the same
    bytes."""
    root = world.space()
    train(Session(root), world.config())
    folder = WorkspaceFolder(root)
    manifest, config = folder.require_published(), folder.load_config()
    store, alone = Store(folder.store.root), Store(world.space() / "objects")
    alone.create()
    index = RecordIndex.read(store, [state.bucket for state in manifest.buckets])
    shard, group = manifest.shards[0], members(root)[0]
    positions = np.array([at for at, name in enumerate(index.names("record_id")) if name in group])
    from lmeraser_ray.data.buckets import without

    kept = []
    for i, bucket in enumerate(index.buckets):
        here = index.of_bucket(i)
        keep = np.isin(np.arange(here.start, here.stop), positions)
        kept.append(without(store, {}, bucket, read_rows(store, bucket), keep))
        if kept[-1]:
            for item in (kept[-1].records, kept[-1].pictures):
                alone.put(item.kind, item.key, [store.read(item)])
    own = RecordIndex.read(alone, [bucket for bucket in kept if bucket])
    engine = InlineEngine(alone, config, load_inputs(config).card)
    [(_, trained)] = engine.run(
        [TrainConstituent((shard.constituent.key,), (parts_of(own, None, np.arange(len(own))),))]
    )
    assert trained.stages == shard.stages == (shard.constituent,)
    assert alone.read(shard.constituent) == folder.store.read(shard.constituent)


def test_adding_a_record_trains_only_what_it_joins(world: World) -> None:
    """Training is incremental both ways: D \\ {x} and then D is D."""
    root, recorder, whole = world.space(), Recorder(), world.space()
    train(Session(root), world.without([world.ids[3]]))
    before = shards(root)
    train(recorder.session(root), world.config())
    after = shards(root)
    assert set(recorder.trained) == {
        key for key, group in after.items() if group not in before.values()
    }
    assert recorder.features == 1
    train(Session(whole), world.config())
    assert shards(whole) == after
