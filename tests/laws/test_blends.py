"""The law for a blend: several systems over the same records, each with shards of its own, answer
together; forgetting equals never having seen, in each of them."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.cost import cost
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.requests import submit
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import named, verify
from lmeraser_ray.pipeline.engine import Outcome
from lmeraser_ray.pipeline.manifest import MEMBER_STRIDE
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal, held
from tests.support.quick import cases
from tests.support.systems import blend, system
from tests.support.world import Recorder, World, picture

Member = tuple[str, str, str, float]
PROMPTS: Member = ("random", "padding", "mean", 1.0)
RIDGE: Member = ("one", "ridge", "mean", 3.0)
MEANS: Member = ("adaptive", "class_means", "nearest", 1.0)
JOINT: Member = ("adaptive", "shared_head", "nearest", 2.0)
VOTE: Member = ("random", "linear_probe", "vote", 0.5)
HASH: Member = ("random", "random_patch", "hash", 1.0)
BLENDS = [((PROMPTS, RIDGE),), ((PROMPTS, MEANS),), ((MEANS, JOINT, VOTE),), ((RIDGE, HASH),)]


def without(world: World, ids: Sequence[str], *members: Member) -> Config:
    """The same blend, trained without these records."""
    world._count += 1
    listed = world.folder / f"exclude-{world._count}.txt"
    listed.write_text("".join(f"{name}\n" for name in ids))
    return blend(world, *members, exclude=str(listed))


def records(session: Session) -> tuple[PublishedState, list[str]]:
    """The published state, and the ids of its records."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    return current, current.index.names("record_id")


def who(session: Session) -> list[str]:
    """A record that is sampled where there is a sample, one that is not, and a test record."""
    current, names = records(session)
    training = current.index.training
    sampled = [at for at in training if current.sampled[at]]
    free = [at for at in training if not current.sampled[at]]
    chosen = [(sampled or free)[0], free[-1], np.flatnonzero(current.index.test)[0]]
    return [names[at] for at in chosen]


@pytest.mark.parametrize(("members",), cases(BLENDS, quick=[BLENDS[0], BLENDS[2]]))
def test_forgetting_equals_never_having_seen(world: World, members: tuple[Member, ...]) -> None:
    session = Session(world.space())
    trained = train(session, blend(world, *members))
    assert trained.test.accuracy is not None
    erased: list[str] = []
    for name in who(session):
        erased.append(name)
        done = unlearn(session, ErasureTargets((name,)))
        never = Session(world.space())
        fresh = train(never, without(world, erased, *members))
        assert fingerprint(session) == fingerprint(never), name
        assert done.passes <= fresh.passes
    expect_equal(session.root, never.root)
    assert verify(session, rebuild=True).differences == ()
    assert evaluate(session).test.accuracy == fresh.test.accuracy


def test_order_does_not_matter(world: World) -> None:
    members = (PROMPTS, MEANS)
    first, second = (world.ids[1],), (world.ids[8], world.ids[9])
    truth = Session(world.space())
    train(truth, without(world, [*first, *second], *members))
    for order in ([first, second], [second, first], [(*first, *second)]):
        session = Session(world.space())
        train(session, blend(world, *members))
        for names in order:
            unlearn(session, ErasureTargets(names))
        expect_equal(session.root, truth.root)


@pytest.mark.parametrize("members", [(PROMPTS, RIDGE), (MEANS, VOTE)], ids=str)
def test_a_member_has_the_constituents_of_its_system_alone(
    world: World, members: tuple[Member, ...]
) -> None:
    """No system knows of the others: neither its shards nor the bytes of its constituents do."""
    session = Session(world.space())
    whole = train(session, blend(world, *members)).manifest
    for at, (partition, learner, way, _) in enumerate(members):
        alone = Session(world.space())
        found = train(alone, system(world, partition, learner, way, 1)).manifest
        assert whole.only(at).shards == found.shards
        assert whole.only(at).partition == found.partition
        assert whole.only(at).buckets == found.buckets
    numbers = [shard.number for shard in whole.shards]
    assert numbers == sorted(numbers)
    assert {number // MEMBER_STRIDE for number in numbers} == {0, 1}
    assert whole.training_records == found.training_records


def test_exactly_the_changed_shards_of_each_member_are_trained(world: World) -> None:
    recorder = Recorder()
    session = recorder.session(world.space())
    train(session, blend(world, PROMPTS, RIDGE))
    current, names = records(session)
    at = int(current.index.training[0])
    numbers = set(current.by_system[at].tolist())
    before = {shard.number: shard.constituent for shard in current.manifest.shards}
    assert len(numbers) == 2
    recorder.work.clear()
    done = unlearn(session, ErasureTargets((names[at],)))
    after = {shard.number: shard.constituent for shard in session.folder.require_published().shards}
    changed = {number for number, item in after.items() if before[number] != item}
    assert changed == numbers
    assert sorted(recorder.trained) == sorted(after[number].key for number in changed)
    assert sorted(done.rebuilt) == sorted(recorder.trained)


def test_systems_with_one_recipe_share_their_constituents(world: World) -> None:
    """Two aggregations of the same shards: each constituent is trained once, and stored once."""
    recorder = Recorder()
    session = recorder.session(world.space())
    ways = (("random", "ridge", "mean", 1.0), ("random", "ridge", "vote", 1.0))
    manifest = train(session, blend(world, *ways)).manifest
    assert len(recorder.trained) == len(set(recorder.trained)) == len(manifest.shards) / 2
    name = who(session)[0]
    unlearn(session, ErasureTargets((name,)))
    never = Session(world.space())
    train(never, without(world, [name], *ways))
    expect_equal(session.root, never.root)


def test_an_answer_is_the_weighted_mean_of_the_members(world: World) -> None:
    pictures = [picture(seed, seed % 3) for seed in range(9)]
    session = Session(world.space())
    train(session, blend(world, PROMPTS, RIDGE))
    found = predict(session, pictures).predictions
    parts = []
    for partition, learner, way, weight in (PROMPTS, RIDGE):
        alone = Session(world.space())
        train(alone, system(world, partition, learner, way, 1))
        parts.append(weight * predict(alone, pictures).predictions.probabilities)
    assert np.allclose(found.probabilities, sum(parts) / 4, atol=1e-12)
    assert np.allclose(found.routes.weights.sum(1), 1)
    single = [predict(session, [one]).predictions.probabilities for one in pictures]
    assert np.concatenate(single).tobytes() == found.probabilities.tobytes()


def test_members_that_all_are_silent_leave_their_weight_to_the_others(world: World) -> None:
    """A request with quarantine takes a shard of each system out, and with the ridge all of its
    system: the rest answers."""
    session = Session(world.space())
    train(session, blend(world, PROMPTS, RIDGE))
    current, names = records(session)
    at = int(current.index.training[0])
    numbers = set(current.by_system[at].tolist())
    submit(session, ErasureTargets((names[at],)), quarantine=True)
    done = predict(session, [picture(1), picture(2)])
    asked = {done.manifest.shards[k].number for k in done.predictions.routes.shards.ravel()}
    assert not asked & numbers
    assert all(number < MEMBER_STRIDE for number in asked)
    assert np.allclose(done.predictions.probabilities.sum(1), 1)
    assert set(evaluate(session).quarantined) == numbers


def test_the_costs_are_the_sums_of_the_members(world: World) -> None:
    members = (PROMPTS, MEANS)
    session = Session(world.space())
    train(session, blend(world, *members))
    found = cost(session)
    parts = []
    for partition, learner, way, _ in members:
        alone = Session(world.space())
        train(alone, system(world, partition, learner, way, 1))
        parts.append(cost(alone))
    for name in ("members", "passes", "touched"):
        columns: list[Any] = [getattr(part.costs, name) for part in parts]
        assert (getattr(found.costs, name) == sum(columns)).all()
    assert (found.costs.sampled == parts[1].costs.sampled).all()
    assert found.sizes == (*parts[0].sizes, *parts[1].sizes)


def test_a_purge_leaves_what_every_member_needs(world: World) -> None:
    """And nothing of the record that left is in any member's assignment."""
    session = Session(world.space())
    train(session, blend(world, RIDGE, MEANS))
    unlearn(session, ErasureTargets((who(session)[0],)))
    manifest = session.folder.require_published()
    assert all(session.folder.store.sound(item) for item in manifest.objects())
    kept = {session.folder.store.path(item) for item in manifest.objects()}
    assert set(session.folder.store.files()) - kept == {
        session.folder.store.path(session.folder.current())
    }
    index = RecordIndex.read(session.folder.store, [state.bucket for state in manifest.buckets])
    assert manifest.training_records == len(index.training)
    assert held(session.root)


def test_an_interrupted_training_goes_on_in_whichever_system_it_was(world: World) -> None:
    """What was trained before is reused; nothing is trained twice."""
    session, whole = Session(world.space()), Session(world.space())
    count = len(train(whole, blend(world, PROMPTS, RIDGE)).evaluated.trained)
    trained = []
    for last in (1, 3, count):
        recorder = Recorder()
        make = recorder.session(session.root).make_engine

        def dying(*about: Any, make: Any = make, last: int = last, seen: Any = recorder) -> Any:
            engine = make(*about)
            wait = engine.wait

            def until(seconds: float | None = None) -> list[Outcome]:
                if len(seen.work) == last:
                    raise KeyboardInterrupt
                found: list[Outcome] = wait(seconds)
                return found

            engine.wait = until
            return engine

        with suppress(KeyboardInterrupt):
            train(Session(session.root, make_engine=dying), blend(world, PROMPTS, RIDGE))
        trained += recorder.trained
    train(session, blend(world, PROMPTS, RIDGE))
    assert len(trained) == len(set(trained)) == count
    expect_equal(session.root, whole.root)


def test_a_backup_of_a_blend_is_restored_without_the_erased(world: World) -> None:
    """And the evidence of its erasure holds."""
    members = (PROMPTS, MEANS)
    session = Session(world.space())
    train(session, blend(world, *members))
    backup(session, to=world.folder / "kept.tar", erasures=None)
    gone = who(session)[:2]
    unlearn(session, ErasureTargets(tuple(gone)))
    before = fingerprint(session)
    assert audit(session, key_folder(None).public_keys()).differences == ()
    done = restore(session, world.folder / "kept.tar")
    assert done.erased_again == 2
    assert fingerprint(session) == before
    assert verify(session, rebuild=True).differences == ()
    assert audit(session, key_folder(None).public_keys()).differences == ()


def test_a_difference_names_the_system(world: World) -> None:
    """Where it is in one behind the first."""
    session = Session(world.space())
    manifest = train(session, blend(world, PROMPTS, MEANS)).manifest
    found = named(manifest)
    assert len(found) == len(set(manifest.objects()))
    assert {"partition of system 2", "constituent of shard 0 of system 2"} <= found.keys()
    assert {"constituent of shard 0", "assignments of bucket 0, system 2"} <= found.keys()


def test_each_system_subtracts(world: World) -> None:
    """Of a record that leaves, every system that sums reads one row."""
    members: tuple[Member, ...] = (RIDGE, ("one", "class_means", "mean", 1.0))
    recorder = Recorder()
    session = recorder.session(world.space())
    train(session, blend(world, *members))
    gone = who(session)[1]
    recorder.work.clear()
    unlearn(session, ErasureTargets((gone,)))
    assert [work.passes for work in recorder.work] == [1, 1]
    never = Session(world.space())
    train(never, without(world, [gone], *members))
    expect_equal(session.root, never.root)
