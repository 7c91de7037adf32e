"""The queue where shards begin with what was learned from the permanent records: such a record is
in every constituent, so that its erasure runs alone and its quarantine silences all of them."""

import pytest

from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.requests import submit
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from tests.support.law import expect_equal, never_seen, remaining
from tests.support.permanent import common_start
from tests.support.quarantine import work_off
from tests.support.world import Recorder, World


def test_a_quarantine_of_a_permanent_record_silences_every_shard(world: World) -> None:
    session = Recorder().session(world.space())
    train(session, world.config(**common_start(world)))
    manifest = session.folder.require_published()
    index = remaining(session.folder.root).index
    plain = index.names("record_id", (~index.permanent & ~index.test).nonzero()[0])[0]
    submit(session, ErasureTargets((plain,)), quarantine=True)
    assert len(session.folder.require_state().quarantined) == 1
    permanent = index.names("record_id", index.permanent.nonzero()[0])[0]
    submit(session, ErasureTargets((permanent,)), quarantine=True)
    assert session.folder.require_state().quarantined == {
        shard.constituent.key for shard in manifest.shards
    }


@pytest.mark.parametrize("kind", ["random", "permanent"])
def test_requests_of_all_kinds_at_once(world: World, kind: str) -> None:
    """Plain, permanent and test records; what is published at last is as never seen."""
    recorder = Recorder()
    session = recorder.session(world.space())
    chosen = common_start(world, kind)
    train(session, world.config(**chosen))
    index = remaining(session.folder.root).index
    masks = (index.permanent, ~index.permanent & ~index.test, index.test, index.permanent)
    gone = [index.names("record_id", mask.nonzero()[0])[i] for i, mask in enumerate(masks)]
    for name in gone:
        submit(session, ErasureTargets((name,)))
    recorder.work.clear()
    work_off(session)
    expect_equal(session.folder.root, never_seen(world, gone, **chosen))
    [start] = {shard.start for shard in session.folder.require_published().shards}
    assert start is not None
    assert recorder.trained.count(start.key) == 1
    after = recorder.trained.index(start.key)
    keys = {shard.constituent.key for shard in session.folder.require_published().shards}
    assert keys <= set(recorder.trained[after + 1 :])
    assert verify(session).ok
