"""Rows 1, 2 and 17: a client dies around its COMMIT; many clients at once."""

from lmeraser_ray.erasure.requests.request import State
from tests.support.story import Case

KILLED = -9


def test_a_client_that_dies_before_its_commit(either: Case) -> None:
    """Row 1: nothing is acknowledged and nothing is there; the repetition inserts one."""
    name = either.ids[3]
    ended = either.submission(name, key="key", die=("before COMMIT", 1)).end()
    assert (ended.code, ended.out) == (KILLED, "")
    assert either.states() == {}
    request = either.submit(name, key="key")
    assert either.submit(name, key="key") == request
    either.settle()
    either.expect_whole()


def test_a_client_that_dies_after_its_commit(either: Case) -> None:
    """Row 2: committed and not acknowledged; the repetition gets the same request."""
    name = either.ids[3]
    ended = either.submission(name, key="key", die=("after COMMIT", 1)).end()
    assert (ended.code, ended.out) == (KILLED, "")
    [known] = either.states()
    assert either.submit(name, key="key") == known
    assert either.states() == {known: State.RECEIVED}
    either.settle()
    either.expect_whole()
