"""Rows 3, 4, 14 and 16: kill -9 in a training, and at every point of an erasure from its first COMMIT to its certificate."""

import random
from itertools import count

import pytest

from lmeraser_ray.erasure.envelope import sign
from lmeraser_ray.erasure.request import State
from lmeraser_ray.erasure.signing import KeyFolder
from lmeraser_ray.fingerprint import fingerprint
from lmeraser_ray.session import Session
from lmeraser_ray.state.folder import WorkspaceFolder
from tests.faults import acts
from tests.faults.story import LANES, Case

KILLED = -9

def test_a_training_that_is_killed_is_taken_up_again(case: Case) -> None:
    """Row 3: kill -9 in the middle of the second constituent. Nothing is published by it, and the first is not trained again."""
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
    """Rows 3 and 4: the queue dies in the middle of its second retrain. The next one, an epoch later, does not train the first again."""
    case = either
    before = case.published()
    case.submit(*(case.ids[i] for i in LANES))
    child = case.work(pause=("batch", 3))
    child.reached()
    child.kill()
    assert child.end().code == KILLED
    assert case.published() == before
    epoch, finished = case.epoch(), case.trained()
    assert len(finished) == 2, "two of three lanes"
    case.settle()
    assert case.epoch() == epoch + 1
    assert len(case.trained()) == 3
    assert set(case.trained().values()) == {1}, "a constituent was trained twice"
    case.expect_whole()
