"""The queue's core, in one process: what is trained for which requests, when it is published, and
what a failing retrain does to others."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.jobs import TrainConstituent
from lmeraser_ray.pipeline.session import Session
from tests.support.held_queue import Held, Place, has, place_of
from tests.support.world import World


@pytest.fixture
def place(world: World) -> Place:
    return place_of(world)


def test_requests_on_one_shard_share_its_retrain(place: Place) -> None:
    place.held.waits = Held.release
    names = max(
        (group for constituent, group in place.constituents().items() if constituent >= 0), key=len
    )[:4]
    ids = [place.submit(name) for name in names]
    place.run()
    assert len(place.held.trained) == 1
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    place.expect(names)


def test_shards_are_retrained_at_once_and_published_as_they_are_done(place: Place) -> None:
    """One request is certified while another's shard is still being trained; what is published then
    is the law's state for it alone."""
    constituents = {
        constituent: group
        for constituent, group in place.constituents().items()
        if constituent >= 0
    }
    (one, *_), (two, *_) = list(constituents.values())[:2]
    first, second = place.submit(one), place.submit(two)
    seen: list[dict[str, State]] = []

    def turn(held: Held) -> None:
        if len(held.jobs) == 2 and not seen:
            held.release(min(held.jobs))
        states = place.states()
        if State.CERTIFIED in states.values():
            seen.append(states)
            place.expect_half(one if states[first] is State.CERTIFIED else two)
            held.release()

    place.expect_half = lambda name: (
        seen.append({"half": name}) or expect_fingerprint(place, [name])
    )  # type: ignore[attr-defined]
    place.held.waits = turn
    place.run()
    assert set(seen[0].values()) == {State.CERTIFIED, State.TRAINING}
    assert place.states() == {first: State.CERTIFIED, second: State.CERTIFIED}
    assert len(place.held.trained) == 2
    place.expect([one, two])


def expect_fingerprint(place: Place, gone: Sequence[str]) -> None:
    """What is published meanwhile."""
    never = Session(place.world.space())
    train(never, place.world.without(gone, **place.sections))
    assert place.session.folder.require_published().fingerprint == fingerprint(never)


def test_what_comes_while_its_shard_is_trained_supersedes_it(place: Place) -> None:
    """Nothing of the first job is done, so it starts over for both: one training is cancelled, one
    is done."""
    one, two, *_ = next(
        group for constituent, group in place.constituents().items() if constituent >= 0
    )
    place.submit(one)
    turns: list[int] = []

    def turn(held: Held) -> None:
        turns.append(len(turns))
        if len(turns) == 1:
            place.submit(two)
        elif len(held.cancelled) == 1:
            held.release()
        assert len(turns) < 50

    place.held.waits = turn
    place.run()
    assert len(place.held.cancelled) == 1
    assert len(place.held.trained) == 1
    assert set(place.states().values()) == {State.CERTIFIED}
    place.expect([one, two])


def test_a_steady_stream_cannot_keep_a_shard_from_its_end(world: World) -> None:
    """A request comes at every turn; after `supersedes` restarts the retrain is left to finish, and
    its requests are published."""
    place = place_of(world, queue={"poll": 0.001, "supersedes": 2})
    names = max(
        (group for constituent, group in place.constituents().items() if constituent >= 0), key=len
    )
    stream = iter(names[1:])
    first = place.submit(names[0])
    gone = [names[0]]

    def turn(held: Held) -> None:
        if len(held.cancelled) < 2:
            gone.append(next(stream))
            place.submit(gone[-1])
        elif len(held.trained) == 0:
            gone.append(next(stream))
            place.submit(gone[-1])
            held.release()
        else:
            held.release()

    place.held.waits = turn
    place.run()
    assert len(place.held.cancelled) == 2
    assert place.states()[first] is State.CERTIFIED
    assert set(place.states().values()) == {State.CERTIFIED}
    place.expect(gone)


def test_a_poisoned_request_fails_and_blocks_nobody(place: Place) -> None:
    """Its retrain fails whenever it is part of it: after three attempts it is FAILED, with the
    reason; the others are certified."""
    constituents = [
        group for constituent, group in place.constituents().items() if constituent >= 0
    ]
    poison, fellow, *_ = max(constituents, key=len)
    other = next(group[0] for group in constituents if poison not in group)
    bad, good, far = place.submit(poison), place.submit(fellow), place.submit(other)
    folder = place.session.folder
    current = PublishedState.read(folder.store, place.session.config(), folder.require_published())
    digest = current.index.digests[current.places([poison])[poison]].tobytes()
    place.held.fail = lambda job: (
        not has(place, job, digest) and job_is_of(place, job, poison, constituents)
    )
    place.held.waits = Held.release
    place.run()
    states = place.states()
    assert states == {bad: State.FAILED, good: State.CERTIFIED, far: State.CERTIFIED}
    with place.session.database() as database:
        failed = RequestRepository(database, place.session.names()).get(bad)
    assert failed.attempts == 3
    assert "failed 3 times" in (failed.reason or "") and "the worker died" in (failed.reason or "")
    assert poison not in (failed.reason or "")
    expect_fingerprint(place, [fellow, other])


def job_is_of(
    place: Place, job: TrainConstituent, name: str, constituents: Sequence[Sequence[str]]
) -> bool:
    """Whether a job trains the shard that a record was in."""
    from lmeraser_ray.data.buckets import columns, read_rows

    store = place.session.folder.store
    group = next(set(members) for members in constituents if name in members)
    part = job.slices[0][0]
    (found,) = columns(read_rows(store, part.rows.bucket).take(part.rows.rows), "record_id")
    return bool(group & set(found))


def test_a_round_that_is_stopped_finishes_what_runs_and_leaves_the_rest(place: Place) -> None:
    """Draining: the shards in training are published and certified, a later request waits for
    the next queue."""
    constituents = [
        group for constituent, group in place.constituents().items() if constituent >= 0
    ]
    first = place.submit(constituents[0][0])
    stopping: list[bool] = []
    later: list[str] = []

    def turn(held: Held) -> None:
        if not stopping:
            stopping.append(True)
            later.append(place.submit(constituents[1][0]))
        held.release()

    place.held.waits = turn
    with place.queue() as queue:
        queue.round(patient=True, stop=lambda: bool(stopping))
    assert place.states() == {first: State.CERTIFIED, later[0]: State.RECEIVED}
    place.held.waits = Held.release
    place.run()
    assert set(place.states().values()) == {State.CERTIFIED}
    place.expect([constituents[0][0], constituents[1][0]])


def test_sampled_records_are_erased_alone_and_together(world: World) -> None:
    """They move prototypes: shards in training end first, then one re-clustering takes everything
    that waits."""
    place = place_of(
        world,
        partition={"sample_size": 12, "shards": 4},
        aggregation={"shards": 2, "temperature": None},
    )
    folder = place.session.folder
    current = PublishedState.read(folder.store, place.session.config(), folder.require_published())
    names = current.index.names("record_id")
    sampled = [names[i] for i in range(len(names)) if current.sampled[i]][:2]
    plain = [
        names[i] for i in range(len(names)) if not current.sampled[i] and not current.index.test[i]
    ][:2]
    ids = [place.submit(name) for name in (plain[0], *sampled, plain[1])]
    place.held.waits = Held.release
    place.run()
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    place.expect([*plain, *sampled])


@pytest.mark.parametrize("kind", ["record twice", "record and its subject", "already erased"])
def test_requests_that_overlap_are_all_certified(place: Place, kind: str) -> None:
    world = place.world
    place.held.waits = Held.release
    name, subject = world.ids[4], world.subjects[4]
    gone = [name]
    with place.session.database() as database:
        requests = RequestRepository(database, place.session.names())
        requests.submit([name], [])
        if kind == "record twice":
            requests.submit([name], [])
        elif kind == "record and its subject":
            requests.submit([], [subject])
            gone = [
                one for one, who in zip(world.ids, world.subjects, strict=True) if who == subject
            ]
        else:
            place.run()
            requests.submit([name], [])
    place.run()
    assert list(place.states().values()) == [State.CERTIFIED, State.CERTIFIED]
    place.expect(gone)


def test_many_requests_over_few_shards_take_no_more_retrains_than_shards(place: Place) -> None:
    place.held.waits = Held.release
    names = [
        name
        for constituent, group in place.constituents().items()
        for name in (group[: len(group) // 2] if constituent >= 0 else group)
    ]
    for name in names:
        place.submit(name)
    place.run()
    assert len(place.held.trained) <= 4
    assert set(place.states().values()) == {State.CERTIFIED}
    place.expect(names)


def test_a_wait_for_others_is_kept(world: World, tmp_path: Path) -> None:
    """With a window a fresh request is left alone by a patient queue, and a hasty one (`unlearn`,
    `queue run`) takes it at once."""
    place = place_of(world, queue={"poll": 0.001, "window": 3600})
    place.held.waits = Held.release
    made = place.submit(world.ids[0])
    with place.queue() as queue:
        assert not queue.busy()
    place.run()
    assert place.states() == {made: State.RECEIVED}
    place.run(patient=False)
    assert place.states() == {made: State.CERTIFIED}
