"""`make quick` and `make long` do try fewer and more examples (`tests/support/quick.py`)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.support.quick import SHARES, chosen

ASKED = 50
TRIED: dict[str, int] = {"test": 0, "machine": 0}


@settings(max_examples=ASKED)
@given(st.integers(), st.sampled_from("ab"))
def test_tries_of_a_function(_: int, __: str) -> None:
    TRIED["test"] += 1


class Machine(RuleBasedStateMachine):
    """A machine that counts its runs."""

    def __init__(self) -> None:
        super().__init__()
        TRIED["machine"] += 1

    @rule(_=st.integers())
    def do_nothing(self, _: int) -> None:
        """Hypothesis needs a rule."""


TestTriesOfAMachine = Machine.TestCase
TestTriesOfAMachine.settings = settings(max_examples=ASKED, stateful_step_count=1)


def test_a_profile_changes_how_many_are_tried(pytestconfig: pytest.Config) -> None:
    share = SHARES[chosen(pytestconfig)]
    assert {"test": share * ASKED, "machine": share * ASKED} == TRIED
