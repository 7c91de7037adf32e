"""What is said of requests that findings hold back."""

import pytest

from lmeraser_ray.erasure.absence.report import Hit
from lmeraser_ray.erasure.queue.proof import refuse_traces
from lmeraser_ray.errors import HeldBackError

HIT = Hit("requests.db", "requests.db", "id")


def test_nothing_that_is_held_back_is_no_error() -> None:
    refuse_traces({})


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({"r1": [HIT]}, r"^r1: The absence scan .* \(requests\.db\): "),
        ({"r1": [HIT, HIT, HIT]}, r"^r1: .* \(requests\.db; 3 findings in all\): "),
        ({"r1": [HIT], "r2": [HIT]}, r"^r1 and 1 more: "),
        ({"r1": [HIT], "r2": [HIT], "r3": [HIT, HIT]}, r"^r1 and 2 more: .* \(requests\.db\): "),
    ],
)
def test_the_first_is_named_and_the_others_are_counted(
    held: dict[str, list[Hit]], said: str
) -> None:
    with pytest.raises(HeldBackError, match=said):
        refuse_traces(held)
