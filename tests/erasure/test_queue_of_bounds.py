"""The queue where shards have a bound or people stay together: requests whose leaves fit together
again, and records that move because another one of their person left."""

import pytest

from lmeraser_ray.erasure.requests.request import State
from tests.support.held_queue import place_of
from tests.support.world import World

BOUNDED = {
    "partition": {"kind": "random", "shards": 1, "bound": 4},
    "learner": {"kind": "ridge"},
    "aggregation": {"kind": "all"},
}
PEOPLE = {
    "partition": {"kind": "adaptive", "unit": "subject", "sample_size": 6, "shards": 4},
    "learner": {"kind": "ridge"},
}


@pytest.mark.parametrize("sections", [BOUNDED, PEOPLE], ids=["bound", "people"])
@pytest.mark.parametrize("slots", [1, 8])
def test_requests_that_move_records_of_others_end_in_the_state_without_theirs(
    world: World, sections: dict[str, dict[str, object]], slots: int
) -> None:
    """Also where several wait at once, side by side or one after the other."""
    place = place_of(world, **sections)
    place.held.slots = slots
    names = world.ids[::5]
    ids = [place.submit(name) for name in names]
    place.held.waits = lambda held: held.release(min(held.jobs))
    place.run()
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    place.expect(names)
