"""Each picture is decoded once, whoever sees it, and never where nobody looks; what is answered,
and what is noticed, is the same."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from lmeraser_ray.data import fitting
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.models.aggregation.routes import Predictions
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.picture_learner import GradientLearner
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline import prepared
from lmeraser_ray.pipeline.answering import Stored, predict_stored
from lmeraser_ray.pipeline.plan import Build
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location
from tests.support.law import held
from tests.support.world import World

Decoded = Counter[bytes]

SYSTEMS = {
    "nearest": {},
    "all": {"aggregation": {"kind": "all"}, "partition": {"kind": "random", "shards": 3}},
    "hash": {"aggregation": {"kind": "hash"}, "partition": {"kind": "random", "shards": 3}},
}


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """How often each picture was decoded for a backbone, by its bytes."""
    found, decode = Decoded(), fitting.decode_picture

    def spy(image: bytes, **options: object) -> object:
        found[image] += 1
        return decode(image, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "decode_picture", spy)
    return found


def predicted(root: Location) -> Predictions:
    """The published state's predictions for its test records."""
    session = Session(root)
    manifest = session.folder.require_published()
    index = RecordIndex.read(session.folder.store, [state.bucket for state in manifest.buckets])
    stored = Stored(
        index, [state.features for state in manifest.buckets], np.flatnonzero(index.test)
    )
    with session.flow(session.folder.store, session.config(), manifest.backbone) as flow:
        return predict_stored(flow, manifest, stored)


def idle_shards(root: Location) -> list[bool]:
    """Whether each shard of the published state is of one class."""
    folder = Session(root).folder
    shards = folder.require_published().shards
    made = [Constituent.from_bytes(folder.store.read(shard.constituent)) for shard in shards]
    return [len(one.classes) == 1 for one in made]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_query_is_decoded_once(
    world: World, system: str, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the bytes of the answers are those of shards that each decode their own queries."""
    root = world.space()
    train(Session(root), world.config(**SYSTEMS[system]))
    decoded.clear()
    once = predicted(root)
    seeing = ~np.array(idle_shards(root))[once.routes.shards]
    hashed = system == "hash"
    assert len(decoded) == (len(seeing) if hashed else int(seeing.any(1).sum()))
    assert set(decoded.values()) == {1}
    decoded.clear()
    monkeypatch.setattr(prepared, "HELD_BYTES", 0)
    each = predicted(root)
    assert decoded.total() == int(seeing.sum()) + (len(seeing) if hashed else 0)
    assert once.probabilities.tobytes() == each.probabilities.tobytes()


def test_what_is_held_is_bounded(
    world: World, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for two pictures two are decoded once, the others by each shard."""
    root = world.space()
    train(Session(root), world.config(**SYSTEMS["all"]))
    every = predicted(root)
    decoded.clear()
    monkeypatch.setattr(prepared, "HELD_BYTES", 2 * 3 * 16 * 16)
    some = predicted(root)
    seeing = sum(not idle for idle in idle_shards(root))
    assert sorted(decoded.values()) == [1, 1] + [seeing] * (len(decoded) - 2)
    assert seeing > 1 and some.probabilities.tobytes() == every.probabilities.tobytes()


@pytest.fixture
def sorted_world(world: World) -> Iterator[World]:
    """Each record's class is its shard, so that no shard has anything to learn."""
    world.__init__(world.folder / "one class", classes=1)  # type: ignore[misc]
    yield world


@pytest.mark.parametrize("kind", ["prompt_head", "whole_model", "shared_head", "label_mapping"])
def test_a_shard_of_one_class_decodes_nothing(
    sorted_world: World, kind: str, decoded: Decoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for a label mapping, which looks at the activations. The bytes are those of a training
    that has decoded all."""
    learner: dict[str, object] = {"kind": kind, "epochs": 2, "batch": 4, "crop": 1}
    partition: dict[str, object] = {"kind": "random", "shards": 2}
    config = sorted_world.config(learner=learner, partition=partition, aggregation={"kind": "all"})
    looked, blind = sorted_world.space(), sorted_world.space()
    train(Session(blind), config)
    features = len(sorted_world.ids)
    seen = decoded.total() - features
    assert seen == (0 if kind != "label_mapping" else trained_on(blind))
    monkeypatch.setattr(GradientLearner, "looks", lambda *_: True)
    decoded.clear()
    train(Session(looked), config)
    assert decoded.total() - features == trained_on(looked)
    assert held(looked) == held(blind)


def trained_on(root: Location) -> int:
    """How many records the published state was trained on."""
    return Session(root).folder.require_published().training_records


def test_a_damaged_picture_that_nobody_decodes_is_noticed(sorted_world: World) -> None:
    """Its digest is compared all the same."""
    root, config = sorted_world.space(), sorted_world.config()
    train(Session(root), config)
    folder = Session(root).folder
    manifest = folder.require_published()
    for shard in manifest.shards:
        folder.store.path(shard.constituent).unlink()
    for state in manifest.buckets:
        path = folder.store.path(state.bucket.pictures)
        path.write_bytes(bytes(len(path.read_bytes())))
    with (
        folder.locked() as workspace,
        Session(root).flow(workspace.store, config, manifest.backbone) as flow,
    ):
        planned = flow.plan([state.bucket for state in manifest.buckets], manifest)
        job = flow.job(planned, Build(planned.plan.specs[0], 0))
        with pytest.raises(VerificationError, match="does not have its record's digest"):
            list(flow.engine.run([job]))
