"""Requests that come while others are being trained: what is under way for one must not hold
anything of another that is certified."""

import pytest

from tests.support.story import ALONE, SAMPLED, TESTED, Case


@pytest.mark.parametrize("meanwhile", [TESTED, ALONE])
def test_a_request_that_comes_while_all_is_trained_again(case: Case, meanwhile: int) -> None:
    """A sampled record goes, so several constituents are trained; between two of them another
    request comes in."""
    case.submit(case.ids[SAMPLED])
    child = case.work(pause=("before constituent", 2))
    child.reached()
    case.submit(case.ids[meanwhile])
    child.go_on()
    ended = child.end()
    assert ended.code == 0, ended.err
    case.expect_whole()
