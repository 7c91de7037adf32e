"""Laws 1, 2 and 5: unlearn(train(D), U) equals train(D \\ U) byte for byte, in any order; and a
learner that leaks is caught."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import UNWATCHED, WHOLE, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support.law import chosen, expect_equal, held, never_seen, trained_and_unlearned
from tests.support.world import Recorder, World

EXAMPLES = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EXAMPLES
@given(data=st.data())
def test_unlearning_equals_never_having_seen(data: st.DataObject) -> None:
    """Law 1 for random D, U, partition and learner."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(
            Path(folder),
            n=data.draw(st.integers(6, 40), "records"),
            classes=data.draw(st.integers(2, 4), "classes"),
        )
        gone = data.draw(st.lists(st.sampled_from(world.ids), min_size=1, unique=True), "U")
        linkage = data.draw(st.sampled_from(["average", "ward", "complete", "single"]), "linkage")
        cut = data.draw(
            st.sampled_from([{"shards": 4}, {"threshold": 0.05, "shards": None}]), "cut"
        )
        prototype = data.draw(st.sampled_from(["mean", "medoid"]), "prototype")
        head = data.draw(st.sampled_from(["zero", "ridge"]), "head")
        optimizer = data.draw(st.sampled_from(["sgd", "adamw"]), "optimizer")
        sections = {
            "seed": data.draw(st.integers(0, 3), "seed"),
            "partition": {
                **cut,
                "linkage": linkage,
                "prototype": prototype,
                "sample_size": data.draw(st.integers(1, 20), "sample"),
            },
            "learner": {"head_init": head, "optimizer": optimizer},
        }
        expect_equal(
            trained_and_unlearned(world, [ErasureTargets(tuple(gone))], **sections),
            never_seen(world, gone, **sections),
        )


CASES = [
    "sampled",
    "unsampled",
    "test record",
    "class",
    "shard",
    "all but one class",
    "all training records",
    "everything",
]


@pytest.mark.parametrize("case", CASES)
def test_law_for_every_kind_of_deletion(world: World, case: str) -> None:
    """Law 1 for U sampled, unsampled, a test record, a class, a shard, all but one class, all."""
    gone = chosen(world, case)
    assert gone
    forgotten = trained_and_unlearned(world, [ErasureTargets(tuple(gone))])
    expect_equal(forgotten, never_seen(world, gone))
    assert verify(Session(forgotten)).ok


def test_law_for_a_subject(world: World) -> None:
    """Erasing a person erases each of their records."""
    gone = [
        name
        for name, subject in zip(world.ids, world.subjects, strict=True)
        if subject == "person-3"
    ]
    assert len(gone) == 2
    expect_equal(
        trained_and_unlearned(world, [ErasureTargets(subjects=("person-3",))]),
        never_seen(world, gone),
    )


def test_order_does_not_matter(world: World) -> None:
    """Law 2: A then B, B then A, both at once, and never seen are one state."""
    requests = [
        ErasureTargets((world.ids[1],)),
        ErasureTargets((world.ids[8], world.ids[9])),
        ErasureTargets(subjects=("person-7",)),
    ]
    everything = ErasureTargets(tuple(n for r in requests for n in r.records), ("person-7",))
    gone = [*everything.records, world.ids[14], world.ids[15]]
    truth = never_seen(world, gone)
    for order in (requests, requests[::-1], [requests[1], requests[2], requests[0]], [everything]):
        expect_equal(trained_and_unlearned(world, order), truth)


def test_rebuilding_from_the_live_records_gives_the_same_bytes(world: World) -> None:
    """`verify --rebuild` after an erasure finds no difference, and leaves nothing behind."""
    root = trained_and_unlearned(world, [ErasureTargets((world.ids[5],))])
    before = held(root)
    done = verify(Session(root), rebuild=True)
    assert done.ok
    assert done.rebuilt
    assert held(root) == before


def test_training_again_brings_nobody_back(world: World) -> None:
    """The source still has the erased record; the next training leaves it out and reuses
    everything."""
    root = trained_and_unlearned(world, [ErasureTargets((world.ids[5],))])
    before, recorder = held(root), Recorder()
    done = train(recorder.session(root), world.config())
    assert (done.ingested.left_out, recorder.trained, recorder.features) == (1, [], 0)
    assert held(root) == before


def test_readmitting_equals_never_having_erased(world: World) -> None:
    """A record that is explicitly let in again gives the state before its erasure."""
    root = trained_and_unlearned(world, [ErasureTargets((world.ids[5],))])
    listed = world.folder / "readmit.txt"
    listed.write_text(world.ids[5])
    train(Session(root), world.config(data={"readmit": str(listed)}))
    expect_equal(root, trained_and_unlearned(world, []))


class GlobalGenerator(PromptHead):
    """Leaks: draws from the process's generator, which every other training moves on."""

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        found = super().train(shard, backbone, stage=stage, watch=watch)
        noise = torch.randn(found.tensors["prompt"].shape).numpy()
        return Constituent(
            found.classes, {**found.tensors, "prompt": found.tensors["prompt"] + noise}, found.about
        )


class SharedSchedule(PromptHead):
    """Leaks: its rate depends on how much was trained before it in this process, as one schedule
    over all clusters does."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.learner)
        self.seen = 0

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        self.seen += len(shard.labels)
        prompt = self.config.prompt.model_copy(update={"lr": 1.0 / self.seen})
        self.config = self.config.model_copy(update={"prompt": prompt})
        return super().train(shard, backbone, stage=stage, watch=watch)


@pytest.mark.parametrize(
    "learner",
    [lambda config: GlobalGenerator(config.learner), SharedSchedule],
    ids=["global RNG", "shared schedule"],
)
def test_a_learner_that_leaks_is_caught(world: World, learner) -> None:
    """Law 5, control: with such a learner the law breaks for one deletion or another, and this
    suite sees it."""
    torch.manual_seed(0)
    broken = []
    for name in world.ids[:3]:
        forgotten, truth = world.space(), world.space()
        train(Recorder(learner).session(forgotten), world.config())
        unlearn(Recorder(learner).session(forgotten), ErasureTargets((name,)))
        train(Recorder(learner).session(truth), world.without([name]))
        broken.append(held(forgotten) != held(truth))
    assert any(broken)


def test_every_removal_changes_the_fingerprint(world: World) -> None:
    """Law 5: a state without a record is another state, whichever record it is."""
    seen = {fingerprint(Session(trained_and_unlearned(world, [])))}
    for name in world.ids[::7]:
        seen.add(fingerprint(Session(never_seen(world, [name]))))
    assert len(seen) == 1 + len(world.ids[::7])


def test_a_record_and_a_subject_of_one_name_are_two(world: World) -> None:
    """Letting records in again does not let in a person whose name is in the same file."""
    root = world.space()
    train(Session(root), world.config())
    unlearn(Session(root), ErasureTargets((world.ids[5],), ("person-7",)))
    listed = world.folder / "readmit.txt"
    listed.write_text(f"{world.ids[5]}\nperson-7\n")
    done = train(Session(root), world.config(data={"readmit": str(listed)}))
    assert (done.ingested.let_in_again, done.ingested.left_out) == (1, 2)
    expect_equal(root, never_seen(world, [world.ids[14], world.ids[15]]))


def test_another_seed_trains_otherwise(world: World) -> None:
    """The same shard under another seed is another constituent."""
    sections = {"data": {"test_fraction": 0.0}, "partition": {"shards": 1}}
    found = []
    for seed in (0, 1):
        root = world.space()
        train(Session(root), world.config(seed=seed, **sections))
        found.append(WorkspaceFolder(root).require_published().shards[0].constituent)
    assert found[0].key != found[1].key
    assert found[0].sha256 != found[1].sha256


def test_a_training_that_diverges_is_an_error(world: World) -> None:
    """Numbers that are not finite are never published."""
    root = world.space()
    with pytest.raises(ConfigError, match="diverged"):
        train(
            Session(root),
            world.config(learner={"prompt": {"lr": 1e15}, "head_lr": 1e15, "optimizer": "sgd"}),
        )
    assert WorkspaceFolder(root).published() is None
