"""People of a partition: what is left of them is what reading the rest would give."""

import numpy as np
import pytest

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.models.partition.people import People
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.session import Session
from tests.support.world import World


@pytest.mark.parametrize("seed", range(4))
def test_people_that_are_left_are_those_that_would_be_read(world: World, seed: int) -> None:
    session = Session(world.space())
    manifest = train(session, world.config(learner={"kind": "ridge"})).manifest
    index = RecordIndex.read(session.folder.store, [state.bucket for state in manifest.buckets])
    stays = np.random.default_rng(seed).random(len(index)) < (0.9, 0.5, 0.2, 0.0)[seed]
    trains = ~index.test & stays
    found = People.read(index, 7, ~index.test).among(trains)
    expected = People.read(index, 7, trains)
    for name in ("of", "members", "starts", "digests"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
