"""A workspace in object storage whose work is done on Ray: workers read and write the bucket
themselves."""

import pytest

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import location
from tests.support.law import held
from tests.support.world import World

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.long]


def test_ray_on_a_bucket_gives_the_bytes_of_a_disk(
    world: World, object_storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train, erase, rebuild; at last everything is as in a folder where nobody but this process
    worked."""
    there = location(f"{object_storage}/on-ray/workspace")
    train(Session(there), world.config(execution={"engine": "ray"}))
    done = unlearn(Session(there), ErasureTargets((world.ids[5],)))
    assert done.request.state == "CERTIFIED"
    assert verify(Session(there), rebuild=True).ok
    monkeypatch.delenv("LMERASER_DATABASE")
    here = world.folder / "here"
    train(Session(here), world.without([world.ids[5]]))
    assert held(there) == held(here)
