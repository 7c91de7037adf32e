"""A round of the queue, where requests arrive while shards are being trained: in the order in which
that is hardest."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import Engine, InlineEngine, Outcome
from lmeraser_ray.pipeline.engine_by_work import EngineByWork
from lmeraser_ray.pipeline.jobs import Job, TrainConstituent
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from lmeraser_ray.storage.times import utcnow
from tests.support.law import expect_equal, index_of, never_seen, shards_by_id
from tests.support.world import World

NO_SUPERSEDING = (("queue.supersedes", "0"),)


def submit(root: Path, *names: str, due: datetime | None = None) -> None:
    """Another process's `lmeraser submit`."""
    session = Session(root)
    with session.database() as database:
        RequestRepository(database, session.names()).submit(names, [], due=due)


def round_of(
    root: Path,
    meanwhile: Callable[[], None],
    *,
    by_work: bool,
    sizes: list[int] | None = None,
    at_once: int = 4,
) -> list[State]:
    """Work until nothing is left; `meanwhile` happens while the first constituent is being trained.
    by_work: the engine is chosen by the work, and what comes meanwhile is much. sizes: gets the
    records of each training in the order in which they are submitted. Returns the requests'
    states."""
    happens, seconds = iter([meanwhile]), iter([0.0, 0.0])

    class Busy(InlineEngine):
        slots = at_once

        def submit(self, job: Job[Any]) -> int:
            if sizes is not None and isinstance(job, TrainConstituent):
                sizes.append(job.weight)
            return super().submit(job)

        def wait(self, seconds: float | None = None) -> list[Outcome]:
            for happen in happens:
                happen()
            return super().wait(seconds)

    def chosen(store: Store, config: Config, card: BackboneCard) -> Engine:
        busy = partial(Busy, store, config, card)
        return EngineByWork(busy, busy, seconds=lambda _: next(seconds, 100.0), say=said.append)

    said = list[str]()
    session = Session(root, make_engine=chosen if by_work else Busy, overrides=NO_SUPERSEDING)
    with queue_of(session, keys=key_folder(None)) as queue:
        queue.round(patient=False, stop=lambda: False)
        assert queue.errors == []
    assert next(happens, None) is None, "something was trained"
    assert bool(said) == by_work
    with session.database() as database:
        return [request.state for request in RequestRepository(database, session.names()).list()]


@pytest.fixture
def root(world: World) -> Path:
    found = world.space()
    train(Session(found), world.config())
    return found


def by_kind(root: Path) -> tuple[list[str], list[str]]:
    """The training records that are sampled, and those that are not."""
    index, sampled = index_of(root)
    training = index.names("record_id", index.training)
    return [name for name in training if name in sampled], [
        name for name in training if name not in sampled
    ]


@pytest.mark.parametrize("by_work", [False, True])
@pytest.mark.parametrize("at", [[3], [4], [6], [0, 1, 2, 3, 4, 5, -1]], ids=str)
def test_requests_that_arrive_while_prototypes_are_made_anew(
    world: World, root: Path, at: list[int], by_work: bool
) -> None:
    """They wait until the shards with their new numbers are published, and are then trained by
    these. The last one is sampled too."""
    sampled, others = by_kind(root)
    submit(root, sampled[0])
    arriving = [[*others[:-1], sampled[1]][i] for i in at]

    def arrive() -> None:
        for name in arriving:
            submit(root, name)

    assert round_of(root, arrive, by_work=by_work) == [State.CERTIFIED] * (1 + len(arriving))
    expect_equal(root, never_seen(world, [sampled[0], *arriving]))


@pytest.mark.parametrize("by_work", [False, True])
def test_a_record_that_leaves_with_another_request_while_prototypes_are_made_anew(
    world: World, root: Path, by_work: bool
) -> None:
    """The second request finds nothing left to train once the first is published."""
    sampled, others = by_kind(root)
    submit(root, sampled[0], others[0])
    found = round_of(root, lambda: submit(root, others[0]), by_work=by_work)
    assert found == [State.CERTIFIED] * 2
    expect_equal(root, never_seen(world, [sampled[0], others[0]]))


@pytest.mark.parametrize("by_work", [False, True])
@pytest.mark.parametrize("at_once", [1, 4])
def test_what_is_due_first_is_trained_first(root: Path, by_work: bool, at_once: int) -> None:
    """However little its work is. No more begins at once than the engine has room for, whoever it
    is, so that what comes later and is due sooner is not behind it."""
    shards = shards_by_id(root)
    size = Counter(shards[name] for name in chain(*by_kind(root)))
    others = sorted(by_kind(root)[1], key=lambda name: (size[shards[name]], name))
    small, large = others[0], others[-1]
    assert size[shards[small]] < size[shards[large]]
    submit(root, large)
    submit(root, small, due=utcnow() + timedelta(days=1))
    trained = list[int]()
    begun = list[int]()
    found = round_of(
        root, lambda: begun.append(len(trained)), by_work=by_work, sizes=trained, at_once=at_once
    )
    assert (found, begun) == ([State.CERTIFIED] * 2, [min(2, at_once)])
    assert trained == [size[shards[small]] - 1, size[shards[large]] - 1]
