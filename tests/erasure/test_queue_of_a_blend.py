"""The queue on a blend: a record waits for the retrains of each system, and leaves once."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.request_work import Work
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.pipeline.jobs import TrainConstituent
from tests.support.held_queue import Held, Place, place_of
from tests.support.world import World

BLEND: dict[str, dict[str, object]] = {
    "aggregation": {
        "kind": "blend",
        "own": "all",
        "others": [
            {
                "partition": {"kind": "random", "shards": 1},
                "learner": {"kind": "ridge"},
                "aggregation": {"kind": "all"},
            }
        ],
    }
}
"""A record trains one of four shards of prompts, and the one ridge."""


def of_two_shards(place: Place) -> tuple[str, str]:
    """Two records that train different shards of the first system."""
    (one, *_), (two, *_) = [
        group for constituent, group in sorted(place.constituents().items()) if constituent >= 0
    ][:2]
    return one, two


@pytest.mark.parametrize("slots", [1, 8])
def test_in_a_blend_a_record_leaves_when_each_system_is_trained_without_it(
    world: World, slots: int
) -> None:
    """Two requests in two shards of prompts share the ridge: three constituents are trained, each
    once, whether side by side or one after the other."""
    place = place_of(world, **BLEND)
    place.held.slots = slots
    names = of_two_shards(place)
    ids = [place.submit(name) for name in names]
    place.held.waits = lambda held: held.release(min(held.jobs))
    place.run()
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    assert len(place.held.trained) == len(set(place.held.trained)) == 3
    place.expect(names)


def test_in_a_blend_a_failed_retrain_leaves_what_the_other_system_trained(world: World) -> None:
    """Only the system that failed is trained again."""
    place = place_of(world, **BLEND)
    name, _ = of_two_shards(place)
    made, failed = place.submit(name), []

    def fails(job: TrainConstituent) -> bool:
        failed.append(job.member)
        return failed.count(1) == 1 == job.member

    place.held.fail, place.held.waits = fails, Held.release
    place.run()
    assert place.states() == {made: State.CERTIFIED}
    assert sorted(failed) == [0, 1, 1]
    assert len(place.held.trained) == 2
    place.expect([name])


def test_in_a_blend_a_queue_that_died_goes_on_with_the_other_system(world: World) -> None:
    """What one system trained before the end is in the store, and is not trained again."""
    place = place_of(world, **BLEND)
    name, _ = of_two_shards(place)
    made = place.submit(name)

    def dies(held: Held) -> None:
        if held.trained:
            raise KeyboardInterrupt
        held.release(min(held.jobs))

    place.held.waits = dies
    with pytest.raises(KeyboardInterrupt):
        place.run()
    place.held.waits = Held.release
    place.run()
    assert place.states() == {made: State.CERTIFIED}
    assert len(place.held.trained) == len(set(place.held.trained)) == 2
    place.expect([name])


def work_on(*constituents: int) -> tuple[Work, PublishedState]:
    """A request for one record, which trains these constituents, and the published state."""
    row = np.array([constituents], np.int32)
    state = SimpleNamespace(
        by_system=row, sampled=np.array([False]), places=lambda names: dict.fromkeys(names, 0)
    )
    request = SimpleNamespace(id="r", state=State.PLANNED)
    rows = [SimpleNamespace(name="a", hash="h")]
    current = cast(PublishedState, state)
    return Work.of(request, rows, current), current  # type: ignore[arg-type]


def test_what_one_system_was_trained_without_stays_out_of_the_next_plans() -> None:
    """A retrain of the other system that did not leave it out would have to be done again."""
    work, current = work_on(3, 70)
    work.begin(3)
    work.finish(3)
    assert (work.trained, work.leaving, work.complete) == (set(), {"a"}, False)
    work.begin(70)
    work.fail(70, current)
    assert (work.waiting, work.leaving) == ({70: {"a"}}, {"a"})
    work.begin(70)
    work.finish(70)
    assert (work.trained, work.parted, work.complete) == ({"a"}, set(), True)


def test_new_numbers_are_waited_for_in_each_system() -> None:
    work, current = work_on(3, 70)
    work.begin(3)
    work.finish(3)
    current.by_system[:] = [[5, 71]]
    work.relabel(current)
    assert work.waiting == {5: {"a"}, 71: {"a"}}
    assert work.leaving == set()
