"""Small jobs share a task: each has its result as soon as it ends, and what a task that died had
stored is not trained again."""

import os
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import UNWATCHED, WHOLE, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.jobs import Trained
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.plan import Build
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from tests.support.law import held
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("cluster")


class DiesAtThird(PromptHead):
    """Notes each training that begins, and kills its process at the third, once."""

    def __init__(self, config: Config, notes: Path) -> None:
        super().__init__(config.learner)
        self.notes = notes

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        begun = len(list(self.notes.iterdir()))
        (self.notes / f"{begun}-{shard.key}").touch()
        if begun == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(shard, backbone, stage=stage, watch=watch)


def test_a_bundle_that_dies_repeats_what_was_not_stored(world: World, tmp_path: Path) -> None:
    """Of four shards in one task the third kills it: two are trained once, the third twice."""
    root, notes = world.space(), tmp_path / "notes"
    notes.mkdir()
    config = world.config(partition={"kind": "random", "shards": 4}, aggregation={"kind": "all"})
    train(Session(root), config)
    truth, session = held(root), Session(root)
    manifest = session.folder.require_published()

    def make(store: Store, config: Config, card: BackboneCard) -> Engine:
        return RayEngine(store, config, card, learner=DiesAtThird(config, notes))

    there = Session(root, make_engine=make, overrides=(("execution.engine", "ray"),))
    with (
        there.folder.locked() as folder,
        there.flow(folder.store, there.config(), manifest.backbone) as flow,
    ):
        planned = flow.plan([state.bucket for state in manifest.buckets], manifest)
        jobs = [flow.job(planned, Build(spec, 0)) for spec in planned.plan.specs]
        for shard in manifest.shards:
            folder.store.path(shard.constituent).unlink()
        flow.engine.start()
        tickets, results = flow.engine.submit_together(jobs), dict[int, Trained]()
        while len(results) < len(jobs):
            outcomes = flow.engine.wait()
            assert not any(outcome.error for outcome in outcomes)
            results |= {outcome.ticket: outcome.result for outcome in outcomes}
        assert list(results) == tickets
        assert [results[ticket].key for ticket in tickets] == [job.key for job in jobs]
        assert flow.engine.wait() == []
    begun = Counter(path.name.split("-")[1] for path in notes.iterdir())
    assert [begun[str(job.key)] for job in jobs] == [1, 1, 2, 1]
    passes = {build.key: build.passes for build in train(Session(root), config).evaluated.trained}
    assert not passes and held(root) == truth


def test_a_bundle_is_cancelled_as_a_whole(world: World, tmp_path: Path) -> None:
    """No outcome comes, and no scratch folder stays."""
    root = world.space()
    train(Session(root), world.config())
    session = Session(root, overrides=(("execution.engine", "ray"),))
    manifest = session.folder.require_published()
    with session.folder.locked() as folder:
        engine = RayEngine(folder.store, session.config(), manifest.backbone)
        with (
            closing(engine),
            session.flow(folder.store, session.config(), manifest.backbone) as flow,
        ):
            planned = flow.plan([state.bucket for state in manifest.buckets], manifest)
            engine.start()
            tickets = engine.submit_together(
                [flow.job(planned, Build(spec, 0)) for spec in planned.plan.specs]
            )
            assert len(list(folder.store.scratch.iterdir())) == 1
            engine.cancel(tickets[1])
            assert engine.wait() == [] and not list(folder.store.scratch.iterdir())
