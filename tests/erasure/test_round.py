"""A round of the queue, where requests arrive while shards are being trained: in the order in which
that is hardest."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import InlineEngine, Outcome
from lmeraser_ray.pipeline.session import Session
from tests.support.law import expect_equal, index_of, never_seen
from tests.support.world import World

NO_SUPERSEDING = (("queue.supersedes", "0"),)


def submit(root: Path, *names: str) -> None:
    """Another process's `lmeraser submit`."""
    session = Session(root)
    with session.database() as database:
        RequestRepository(database, session.names()).submit(names, [])


def round_of(root: Path, meanwhile: Callable[[], None]) -> list[State]:
    """Work until nothing is left; `meanwhile` happens while the first constituent is being trained.
    Returns the requests' states."""
    happens = iter([meanwhile])

    class Busy(InlineEngine):
        slots = 4

        def wait(self, seconds: float | None = None) -> list[Outcome]:
            for happen in happens:
                happen()
            return super().wait(seconds)

    session = Session(root, make_engine=Busy, overrides=NO_SUPERSEDING)
    with queue_of(session, keys=key_folder(None)) as queue:
        queue.round(patient=False, stop=lambda: False)
        assert queue.errors == []
    assert next(happens, None) is None, "something was trained"
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


@pytest.mark.parametrize("at", [[3], [4], [6], [0, 1, 2, 3, 4, 5, -1]], ids=str)
def test_requests_that_arrive_while_prototypes_are_made_anew(
    world: World, root: Path, at: list[int]
) -> None:
    """They wait until the shards with their new numbers are published, and are then trained by
    these. The last one is sampled too."""
    sampled, others = by_kind(root)
    submit(root, sampled[0])
    arriving = [[*others[:-1], sampled[1]][i] for i in at]

    def arrive() -> None:
        for name in arriving:
            submit(root, name)

    assert round_of(root, arrive) == [State.CERTIFIED] * (1 + len(arriving))
    expect_equal(root, never_seen(world, [sampled[0], *arriving]))


def test_a_record_that_leaves_with_another_request_while_prototypes_are_made_anew(
    world: World, root: Path
) -> None:
    """The second request finds nothing left to train once the first is published."""
    sampled, others = by_kind(root)
    submit(root, sampled[0], others[0])
    assert round_of(root, lambda: submit(root, others[0])) == [State.CERTIFIED] * 2
    expect_equal(root, never_seen(world, [sampled[0], others[0]]))
