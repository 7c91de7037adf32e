"""Rows 3, 4, 14 and 16: kill -9 in a training, and at every point of an erasure from its submission
to its certificate.

Here the points are those where nothing reaches the disk, the signer's, and PostgreSQL's; a crash at
each change of the disk is in `operations/test_crash_in_erasure.py`.
"""

from collections.abc import Callable
from itertools import count

import pytest

from lmeraser_ray.erasure.certificate.dsse import sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support import acts
from tests.support.story import ALONE, LANES, TESTED, Case

pytestmark = pytest.mark.long

KILLED = -9
Make = Callable[[str | None], Case]


def test_a_training_that_is_killed_is_taken_up_again(case: Case) -> None:
    """Row 3: kill -9 in the middle of the second constituent. Nothing is published by it, and the
    first is not trained again."""
    root = case.truth.world.space()
    child = case.start(acts.learn, root, case.truth.config().model_dump_json(), pause=("batch", 3))
    child.reached()
    child.kill()
    assert child.end().code == KILLED
    assert WorkspaceFolder(root).published() is None
    finished = case.trained()
    assert finished
    assert case.start(acts.learn, root, case.truth.config().model_dump_json()).end().code == 0
    assert fingerprint(Session(root)) == case.published()
    assert finished < case.trained()
    assert set(case.trained().values()) == {1}, "a constituent was trained twice"


def test_an_erasure_that_is_killed_is_taken_up_again(either: Case) -> None:
    """Rows 3 and 4: the queue dies in the middle of its third retrain. The next one, an epoch
    later, trains that one and no other."""
    case = either
    before = case.published()
    case.submit(*(case.ids[i] for i in LANES))
    child = case.work(pause=("batch", 3))
    child.reached()
    child.kill()
    assert child.end().code == KILLED
    assert case.published() == before
    epoch, finished = case.epoch(), case.trained()
    assert len(finished) == 2, "two of three shards"
    case.settle()
    assert case.epoch() == epoch + 1
    assert len(case.trained()) == 3
    assert set(case.trained().values()) == {1}, "a constituent was trained twice"
    case.expect_whole()


def test_what_a_dead_queue_had_trained_is_purged_where_it_may_not_stay(case: Case) -> None:
    """As above, but meanwhile a record of a shard that is trained already is to go too: what the
    dead queue made was trained on it."""
    case.ask(*(case.ids[i] for i in LANES))
    child = case.work(pause=("batch", 3))
    child.reached()
    child.kill()
    child.end()
    case.ask(*case.ids[6:16])
    case.settle()
    case.expect_whole()


POINTS = {
    "before signature": 2,
    "after signature": 2,
    "before COMMIT of the signer": 1,
    "after COMMIT of the signer": 1,
    "before constituent": 1,
    "after constituent": 1,
    "batch": 1,
}
"""How often an erasure of two requests comes there at least."""


def killed_at_every(make: Make, url: str | None, point: str) -> int:
    """An erasure of two requests, killed at the first, the second, … time that it comes to a point.
    Returns how often it came there."""
    for k in count(1):
        case = make(url)
        both = {case.ids[ALONE], case.ids[TESTED]}
        states = [
            case.truth.published_without(frozenset(erased))
            for erased in ([], *([name] for name in both), both)
        ]
        for name in both:
            case.ask(name)
        ended = case.work(die=(point, k)).end()
        if ended.code == 0:
            case.expect_whole()
            return k - 1
        assert (ended.code, ended.err.count("error")) == (KILLED, 0), ended
        assert case.published() in states
        frozen = {name: case.request(name).statement for name in case.acknowledged}
        for name, state in case.states().items():
            assert (state is State.CERTIFIED) == bool(case.request(name).envelope)
        case.settle()
        case.expect_whole()
        key = KeyFolder(case.keys).current()
        for name, statement in frozen.items():
            if statement:
                assert case.request(name).envelope == sign(statement, key), (
                    "other bytes than were frozen"
                )
    raise AssertionError


@pytest.mark.parametrize("point", POINTS)
def test_an_erasure_that_is_killed_anywhere_ends_once(make: Make, point: str) -> None:
    """Rows 14 and 16: all old or all new at any moment; then `queue run` ends in one certificate
    each, of the bytes that were frozen."""
    assert killed_at_every(make, None, point) >= POINTS[point]


@pytest.mark.parametrize(
    ("point", "times"),
    [("before COMMIT", 6), ("after COMMIT", 6), ("before pointer", 1), ("after pointer", 1)],
)
def test_the_same_on_postgresql(make: Make, postgresql: str, point: str, times: int) -> None:
    """Rows 14 and 16, the cluster's dialect."""
    assert killed_at_every(make, postgresql, point) >= times


def test_kills_at_any_moment(make: Make) -> None:
    """Row 14 without failpoints: kill -9 from outside, some milliseconds into the command, again
    and again until it gets through."""
    case = make(None)
    for name in (case.ids[i] for i in LANES):
        case.ask(name)
    for milliseconds in count(5, 90):
        child = case.work()
        child.process.join(milliseconds / 1000)
        if child.process.exitcode is not None:
            break
        child.kill()
        assert child.end().code in (KILLED, 0)
        case.published()
    assert milliseconds > 50
    case.expect_whole()
