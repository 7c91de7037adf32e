"""Row 15: a crash in the middle of the purge, and a file that cannot be removed: no certificate
until the absence scan finds nothing."""

import pytest

from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.pipeline.session import Session
from tests.support.disks import immutable
from tests.support.story import ALONE, TESTED, Case

pytestmark = pytest.mark.long

KILLED = -9


def test_killed_in_the_middle_of_the_purge(case: Case) -> None:
    """At the first, the third, the fifth removal, one command after the other: PUBLISHED all the
    time, then certified once."""
    case.submit(case.ids[ALONE])
    new = fingerprint(Session(case.truth.without(frozenset([case.ids[ALONE]]))))
    for k in (1, 3, 1, 2):
        assert case.work(die=("before removal", k)).end().code == KILLED
        assert list(case.states().values()) == [State.PUBLISHED]
        assert case.published() == new
    case.settle()
    case.expect_whole()


@pytest.mark.parametrize("kind", ["pictures", "records", "features", "constituents"])
def test_a_file_that_cannot_be_removed(case: Case, kind: str) -> None:
    """`chattr +i`: the new state answers and all other files go; nothing is certified, however
    often it is tried, until this one can go."""
    case.submit(case.ids[ALONE])
    folder = case.session.folder
    old = {folder.store.path(item) for item in folder.require_published().objects()}
    truth = case.session.folder.__class__(case.truth.without(frozenset([case.ids[ALONE]])))
    new = {folder.store.path(item) for item in truth.require_published().objects()}
    stuck = sorted(path for path in old - new if path.parent.name == kind)[0]
    with immutable(stuck):
        for _ in range(2):
            ended = case.work().end()
            assert ended.code == 5, ended
            last = ended.err.splitlines()[-1]
            assert f"{stuck} could not be read or written (Operation not permitted)" in last, last
            [request] = case.acknowledged
            assert case.request(request).state is State.PUBLISHED
            assert case.request(request).envelope is None
            assert case.published() == fingerprint(Session(truth.root))
            assert {path for path in old - new if path.exists()} == {stuck}
    case.settle()
    case.expect_whole()


def test_others_wait_for_a_file_that_cannot_be_removed_and_are_published(case: Case) -> None:
    """Meanwhile other requests go on to PUBLISHED or stay where they are; nobody is certified past
    the purge, nobody is lost."""
    case.submit(case.ids[ALONE])
    stuck = sorted(case.root.glob("objects/pictures/*"))
    with immutable(stuck[0]), immutable(stuck[1]):
        assert case.work().end().code == 5
        case.submit(case.ids[TESTED])
        assert case.work().end().code == 5
        assert State.CERTIFIED not in case.states().values()
    case.settle()
    case.expect_whole()


def test_a_copy_that_somebody_made(case: Case) -> None:
    """Not a file of ours, so it is not removed: the scan finds it and says where, and nothing is
    certified until it is gone."""
    case.submit(case.ids[ALONE])
    copy = case.root / "notes.txt"
    copy.write_bytes(b"see " + case.traces[case.ids[ALONE]]["picture"])
    ended = case.work().end()
    assert ended.code == 4, ended
    last = ended.err.splitlines()[-1]
    assert "notes.txt" in last, last
    assert case.ids[ALONE] not in ended.err
    assert list(case.states().values()) == [State.PUBLISHED]
    copy.unlink()
    case.settle()
    case.expect_whole()
