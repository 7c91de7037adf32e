"""The law for every system: whatever the partition, the learner and the aggregation, forgetting
equals never having seen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmeraser_ray.config import Config, PromptConfig, presets
from lmeraser_ray.data.feature_file import CHECK, HEAD
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.jobs import TrainConstituent, Trained, Worker
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store, StoredObject
from tests.support.systems import LEARNERS, system
from tests.support.world import Recorder, World, picture

CASES = [
    *(
        (partition, learner, "mean", 1)
        for partition in ("adaptive", "random")
        for learner in LEARNERS
    ),
    *(("adaptive", learner, "nearest", 3) for learner in LEARNERS if learner != "shared_head"),
    *(("random", "padding", way, 1) for way in ("mean", "vote", "hash")),
    ("random", "whole_model", "vote", 4),
    ("average", "padding", "nearest", 2),
    ("one", "whole_model", "mean", 1),
    ("one", "padding", "mean", 1),
    ("one", "ridge", "mean", 1),
    ("public", "padding", "nearest", 1),
    ("public", "shared_head", "nearest", 1),
    ("public", "ridge", "nearest", 2),
]


def forgotten(world: World, ids: list[str], *case: Any) -> Config:
    """The same system, trained without these records."""
    world._count += 1
    listed = world.folder / f"exclude-{world._count}.txt"
    listed.write_text("".join(f"{name}\n" for name in ids))
    return system(world, *case, exclude=str(listed))


def who(session: Session, config: Config) -> dict[str, str]:
    """A training record that is sampled, one that is not, and a test record."""
    folder = session.folder
    manifest = folder.require_published()
    index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
    from lmeraser_ray.models.partition.adaptive import sample_order

    ids = index.names("record_id", index.training)
    order = sample_order(config.seed, ids, len(ids))
    return {
        "first": ids[order[0]],
        "last": ids[order[-1]],
        "test": index.names("record_id", np.flatnonzero(index.test))[0],
    }


@pytest.mark.parametrize(
    ("partition", "learner", "way", "slices"),
    CASES,
    ids=["-".join(map(str, case)) for case in CASES],
)
def test_forgetting_equals_never_having_seen(
    world: World, partition: str, learner: str, way: str, slices: int
) -> None:
    case = (partition, learner, way, slices)
    config = system(world, *case)
    session = Session(world.space())
    trained = train(session, config)
    assert trained.test.accuracy is not None
    chosen = who(session, config)
    erased: list[str] = []
    for name in chosen.values():
        erased.append(name)
        done = unlearn(session, ErasureTargets((name,)))
        never = Session(world.space())
        fresh = train(never, forgotten(world, erased, *case))
        assert fingerprint(session) == fingerprint(never), name
        assert done.passes <= fresh.passes
        if name == chosen["test"]:
            assert (done.rebuilt, done.passes) == ((), 0)
    assert verify(session).ok
    scored = evaluate(session)
    assert scored.test.accuracy == fresh.test.accuracy
    assert len(predict(session, [picture(7)]).predictions.labels) == 1


@pytest.mark.parametrize(
    "case",
    [
        ("random", "padding", "mean", 1),
        ("public", "ridge", "nearest", 1),
        ("adaptive", "shared_head", "mean", 1),
    ],
    ids=str,
)
def test_verify_rebuilds_every_byte(world: World, case: tuple[Any, ...]) -> None:
    session = Session(world.space())
    config = system(world, *case)
    train(session, config)
    if case[0] == "public":  # the public pictures are not needed again
        for path in sorted((world.folder / "public").rglob("*.png")):
            path.unlink()
    unlearn(session, ErasureTargets((who(session, config)["last"],)))
    assert verify(session, rebuild=True).differences == ()


@pytest.mark.parametrize("learner", ["padding", "whole_model", "linear_probe"])
def test_a_deletion_trains_from_its_slice_on(world: World, learner: str) -> None:
    """With one shard and R slices, the stages before the record's slice are reused and all others
    trained."""
    slices = 4
    case = ("one", learner, "mean", slices)
    recorder = Recorder()
    session = recorder.session(world.space())
    config = system(world, *case)
    trained = train(session, config)
    stages = trained.manifest.shards[0].stages
    assert len(stages) == slices
    index = RecordIndex.read(
        session.folder.store, [state.bucket for state in trained.manifest.buckets]
    )
    slice_of = index.hashed(config.seed, "slice", slices)
    for wanted in range(slices - 1, 0, -1):
        manifest = session.folder.require_published()
        index = RecordIndex.read(session.folder.store, [state.bucket for state in manifest.buckets])
        slice_of = index.hashed(config.seed, "slice", slices)
        at = int(index.training[slice_of[index.training] == wanted][0])
        recorder.work.clear()
        unlearn(session, ErasureTargets((index.names("record_id")[at],)))
        before, after = (
            manifest.shards[0].stages,
            session.folder.require_published().shards[0].stages,
        )
        assert [a == b for a, b in zip(before, after, strict=True)] == [
            stage < wanted for stage in range(slices)
        ]
        [work] = recorder.work
        assert len(work.stages) == slices - wanted


@pytest.mark.parametrize(
    "learner", ["padding", "whole_model", "shared_head", "linear_probe", "ridge"]
)
def test_a_task_reads_its_members_and_nothing_else(
    world: World, learner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The byte ranges of its members' pictures, or of their rows of features, with their checks and
    the heads of the files; no rows of a bucket, and nothing whole."""
    read: list[tuple[str, int]] = []
    ranges, run = Store.read_ranges, TrainConstituent.run

    def counted(
        self: Store, item: StoredObject, offsets: list[int], lengths: list[int]
    ) -> list[bytes]:
        read.append((item.kind, sum(lengths)))
        return ranges(self, item, offsets, lengths)

    def watched(self: TrainConstituent, worker: Worker) -> Trained:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "read_ranges", counted)
            patch.setattr(Store, "read", lambda _, item: pytest.fail(f"{item.kind} was read whole"))
            read.clear()
            done = run(self, worker)
        members = [part for parts in self.slices for part in parts]
        assert {kind for kind, _ in read} == ({"features"} if members[0].features else {"pictures"})
        about = [part.rows.about for part in members if part.rows.about]
        row = 4 * worker.card.dimension + CHECK
        wanted = sum(
            HEAD + row * len(each) if members[0].features else int(each.lengths.sum())
            for each in about
        )
        assert sum(size for _, size in read) == wanted
        tasks.append(wanted)
        return done

    tasks: list[int] = []
    monkeypatch.setattr(TrainConstituent, "run", watched)
    done = train(Session(world.space()), system(world, "random", learner, "mean", 1))
    assert len(tasks) == len(done.evaluated.trained) > 0


def test_a_shared_head_is_trained_again_by_every_deletion_and_only_once(world: World) -> None:
    recorder = Recorder()
    session = recorder.session(world.space())
    config = system(world, "adaptive", "shared_head", "nearest", 1)
    trained = train(session, config)
    assert len(recorder.trained) == 1 < len(trained.manifest.shards)
    assert len({shard.constituent for shard in trained.manifest.shards}) == 1
    unlearn(session, ErasureTargets((who(session, config)["last"],)))
    assert len(recorder.trained) == 2


def test_no_deletion_reclusters_where_prototypes_are_public(world: World) -> None:
    recorder = Recorder()
    session = recorder.session(world.space())
    config = system(world, "public", "padding", "nearest", 1)
    before = train(session, config).manifest
    for name in world.ids[:6]:
        recorder.work.clear()
        done = unlearn(session, ErasureTargets((name,)))
        assert not done.reclustered
        assert len(recorder.trained) <= 1
        assert session.folder.require_published().partition == before.partition


def test_other_public_pictures_are_another_workspace(world: World) -> None:
    session = Session(world.space())
    config = system(world, "public", "ridge", "nearest", 1)
    train(session, config)
    (world.folder / "public" / "deep" / "0.png").write_bytes(picture(5000))
    with pytest.raises(ConfigError, match="other public pictures"):
        train(session, config)
    with pytest.raises(ConfigError, match=r"partition\.kind 'public'.*'adaptive'"):
        train(session, system(world, "adaptive", "ridge", "nearest", 1))
    assert verify(session).ok, "what is refused leaves nothing behind"


def test_more_labels_than_the_backbone_has_classes_are_refused_at_once(tmp_path: Path) -> None:
    """And not when a deletion has merged two shards: an erasure must be able to end."""
    world = World(tmp_path / "many", 60, classes=11)
    with pytest.raises(ConfigError, match="10 classes, the training records have 11 labels"):
        train(Session(world.space()), system(world, "adaptive", "label_mapping", "nearest", 1))


def test_label_mapping_without_a_prompt_trains_nothing(world: World) -> None:
    config = system(world, "adaptive", "label_mapping", "nearest", 1)
    prompt = config.learner.model_copy(
        update={"prompt": PromptConfig(kind="random_patch", width=0)}
    )
    assert train(Session(world.space()), config.model_copy(update={"learner": prompt})).passes == 0


@pytest.mark.parametrize("name", presets.names())
def test_every_named_system_is_a_configuration(name: str) -> None:
    found = Config.model_validate(presets.with_system({}, name))
    assert found.learner.kind == presets.read(name)["learner"]["kind"]
