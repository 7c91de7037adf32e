"""Law 3: workers, GPU fractions, block sizes, threads, retries, a crash and a resume change no
byte."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from lmeraser_ray import Workspace
from lmeraser_ray.config import EXECUTION, Config
from lmeraser_ray.config.options import sections_in, to_yaml
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, ExecutionError, VerificationError
from lmeraser_ray.models.backbone import Backbone
from lmeraser_ray.models.learners.base import UNWATCHED, WHOLE, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.prompt_head import PromptHead
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.jobs import Job
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.store import Store
from tests.support.law import held
from tests.support.permanent import STAFF, common_start, those
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("cluster")

WAYS = {
    "default": {},
    "one actor, one batch a block": {"feature_actors": 1, "feature_block": 1},
    "two actors, many batches a block": {"feature_actors": 2, "feature_block": 64},
    "quarter of a GPU": {"task_gpus": 0.25, "feature_gpus": 0.25},
    "a new process each": {"task_gpus": 0.5, "reuse_workers": False},
}


@pytest.fixture
def truth(world: World) -> dict[str, bytes]:
    """What training in one process, without Ray, leaves behind."""
    root = world.space()
    train(Session(root), world.config())
    return held(root)


@pytest.mark.parametrize(
    "way", [way if way == "default" else pytest.param(way, marks=pytest.mark.long) for way in WAYS]
)
def test_ray_gives_the_bytes_of_one_process(
    world: World, truth: dict[str, bytes], way: str
) -> None:
    """Train on the cluster in several ways; the workspace is the same to the byte."""
    root = world.space()
    done = train(Session(root), world.config(execution={"engine": "ray", **WAYS[way]}))
    assert len(done.evaluated.trained) == len(done.manifest.shards)
    assert done.evaluated.features_computed == len(world.ids)
    assert held(root) == truth


def test_shards_with_a_common_start_have_the_same_bytes(world: World) -> None:
    """The start is trained before the tasks that read it; an erasure by a task reads it again."""
    chosen = common_start(world)
    staff = those(world, STAFF)
    plain = next(name for name in world.ids if name not in staff)
    here, there = world.space(), world.space()
    for root, engine in ((here, "inline"), (there, "ray")):
        train(Session(root), world.config(**chosen, execution={"engine": engine}))
    assert held(here) == held(there)
    for gone in (plain, staff[0]):
        for root in (here, there):
            unlearn(Session(root), ErasureTargets((gone,)))
        assert held(here) == held(there)


def test_slots_are_those_of_the_cluster_or_as_configured(world: World) -> None:
    """Two CPUs and four quarters of a GPU are two slots; an autoscaler's cluster may have room for
    more than is there."""
    found = []

    class SeenError(Exception):
        """The engine was made; nothing need be trained on it."""

    def make(store: Store, config: Config, card: BackboneCard) -> Engine:
        with closing(RayEngine(store, config, card)) as engine:
            found.append(engine.slots)
        raise SeenError

    for slots in (None, 32):
        with pytest.raises(SeenError):
            train(
                Session(world.space(), make_engine=make),
                world.config(execution={"engine": "ray", "slots": slots}),
            )
    assert found == [2, 32]


@pytest.mark.long
def test_forgetting_on_ray_is_forgetting_in_one_process(world: World) -> None:
    """Erase, rebuild and score on the cluster: the bytes and the numbers of one process."""
    here, there = world.space(), world.space()
    for root, engine in ((here, "inline"), (there, "ray")):
        train(Session(root), world.config(execution={"engine": engine}))
        unlearn(Session(root), ErasureTargets((world.ids[6],)))
    assert held(here) == held(there)
    assert verify(Session(there), rebuild=True).ok
    assert evaluate(Session(there)) == evaluate(Session(here))


@pytest.mark.long
def test_threads_of_the_process_change_nothing(world: World, truth: dict[str, bytes]) -> None:
    """Whoever calls us may have set any number of torch threads, and finds it unchanged."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            root = world.space()
            train(Session(root), world.config())
            assert held(root) == truth
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


class Dies(PromptHead):
    """Kills its own process in the middle of a training, as often as there are files to take
    away."""

    def __init__(self, config: Config, fuses: Path) -> None:
        super().__init__(config.learner)
        self.fuses = fuses

    def train(
        self,
        shard: ShardData,
        backbone: Backbone,
        *,
        stage: Stage = WHOLE,
        watch: Watch = UNWATCHED,
    ) -> Constituent:
        for fuse in sorted(self.fuses.iterdir()):
            fuse.unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(shard, backbone, stage=stage, watch=watch)


def dying(root: Path, fuses: Path) -> Session:
    """A session whose workers die."""

    def make(store: Store, config: Config, card: BackboneCard) -> Engine:
        return RayEngine(store, config, card, learner=Dies(config, fuses))

    return Session(root, make_engine=make)


@pytest.mark.long
def test_a_killed_worker_is_tried_again(
    world: World, truth: dict[str, bytes], tmp_path: Path
) -> None:
    """kill -9 in a training: Ray runs the task again, and the bytes are the same."""
    root, fuses = world.space(), tmp_path / "fuses"
    fuses.mkdir()
    (fuses / "one").touch()
    train(dying(root, fuses), world.config(execution={"engine": "ray"}))
    assert list(fuses.iterdir()) == []
    assert held(root) == truth


@pytest.mark.long
def test_retries_are_bounded_and_nothing_is_lost(
    world: World, truth: dict[str, bytes], tmp_path: Path
) -> None:
    """A worker that dies each time ends in one clear error; the next run goes on with what is
    there."""
    root, fuses = world.space(), tmp_path / "fuses"
    fuses.mkdir()
    for n in range(100):
        (fuses / str(n)).touch()
    with pytest.raises(ExecutionError, match=r"worker died more often than execution\.retries"):
        train(dying(root, fuses), world.config(execution={"engine": "ray", "retries": 1}))
    assert WorkspaceFolder(root).published() is None
    done = train(Session(root), world.config(execution={"engine": "ray"}))
    assert done.evaluated.features_computed == 0
    assert held(root) == truth


class Interrupted(RayEngine):
    """Ctrl-C in the driver after the first finished shard."""

    def run(self, jobs: Sequence[Job], work: int = 0) -> Iterator[tuple[int, object]]:
        for done, found in enumerate(super().run(jobs, work)):
            if done == 1:
                raise KeyboardInterrupt
            yield found


@pytest.mark.long
def test_an_interrupted_run_resumes(world: World, truth: dict[str, bytes]) -> None:
    """What was finished before the interruption is not trained again."""
    root = world.space()
    with pytest.raises(KeyboardInterrupt):
        train(Session(root, make_engine=Interrupted), world.config(execution={"engine": "ray"}))
    finished = sum(kind == "constituents" for kind, _ in WorkspaceFolder(root).store.listing())
    assert finished >= 2
    done = train(Session(root), world.config(execution={"engine": "ray"}))
    assert done.evaluated.reused >= finished
    assert done.evaluated.reused + len(done.evaluated.trained) == len(done.manifest.shards)
    assert held(root) == truth


def test_an_error_in_a_worker_arrives_as_ours(world: World) -> None:
    """A damaged picture that a task finds is a `VerificationError` with its sentence, not a stack
    of Ray's."""
    root = world.space()
    train(Session(root), world.config())
    folder = WorkspaceFolder(root)
    for state in folder.require_published().buckets:
        path = folder.store.path(state.bucket.pictures)
        path.write_bytes(bytes(len(path.read_bytes())))
    session = Session(root, overrides=(("execution.engine", "ray"),))
    with pytest.raises(VerificationError, match="a picture does not have its record's digest"):
        evaluate(session)


class DiesAtBirth(PromptHead):
    """Kills each process that it is sent to, and not the one that it comes from."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.learner)
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        if os.getpid() != self.home:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.long
def test_feature_actors_that_die_are_not_tried_for_ever(world: World) -> None:
    """Retries are bounded for features too: Ray Data's own are not."""

    def make(store: Store, config: Config, card: BackboneCard) -> Engine:
        return RayEngine(store, config, card, learner=DiesAtBirth(config))

    root = world.space()
    with pytest.raises(ExecutionError):
        train(
            Session(root, make_engine=make), world.config(execution={"engine": "ray", "retries": 1})
        )
    assert WorkspaceFolder(root).published() is None


def test_more_gpus_than_there_are_is_an_error(world: World) -> None:
    """Not a silent wait for ever."""
    with pytest.raises(ConfigError, match="the cluster has 1"):
        train(
            Session(world.space()),
            world.config(execution={"engine": "ray", "task_gpus": 2, "feature_gpus": 2}),
        )


@pytest.mark.long
def test_a_worker_that_outlives_its_command_cannot_write(world: World) -> None:
    """An orphan of an earlier command finds no scratch folder: nothing comes back after a purge."""
    root = world.space()
    train(Session(root), world.config())
    folder = WorkspaceFolder(root)
    with folder.locked() as workspace:
        orphan = Store(workspace.store.root, workspace.store.run)
        orphan.put("constituents", "0" * 64, [b"while its command runs"])
    unlearn(Session(root), ErasureTargets((world.ids[6],)))
    with pytest.raises(ExecutionError):
        orphan.put("constituents", "1" * 64, [b"an erased person"])
    assert verify(Session(root)).ok


@pytest.mark.long
def test_one_cpu_is_enough(world: World, truth: dict[str, bytes]) -> None:
    """`lmeraser train --execution.cpus 1` in a process of its own: no deadlock between decoding and
    features, and the same bytes."""
    root, config = world.space(), world.folder / "config.yaml"
    config.write_text(to_yaml(world.config(execution={"engine": "ray", "cpus": 1, "gpus": 0})))
    words = [
        sys.executable,
        "-m",
        "lmeraser_ray.train",
        "--config",
        str(config),
        "--workspace",
        str(root),
        "--json",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=240, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert held(root) == truth


EXECUTION_FIELDS = {
    *(
        "data." + name
        for name in (
            "source",
            "path",
            "test_path",
            "flatten",
            "id_column",
            "label_column",
            "image_column",
            "subject_column",
            "ids",
            "on_error",
        )
    ),
    *(
        "data." + name
        for name in (
            "subjects_file",
            "subject_pattern",
            "exclude",
            "readmit",
            "readmit_subjects",
            "permanent",
            "permanent_column",
            "max_pixels",
        )
    ),
    *("data." + name for name in ("download", "allow_missing")),
    *("backbone." + name for name in ("name", "weights", "seed")),
    "partition.path",
    "execution",
    "queue",
    "serve",
    "sweep",
}
"""Fields that are not identity. What they change is held by something else (the digests of records
and weights, what the record of a sweep says) or is nothing."""


def execution_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of the fields that are marked `EXECUTION`."""
    for name, field in model.model_fields.items():
        if EXECUTION in field.metadata:
            yield prefix + name
            continue
        for section in sections_in(field.annotation):  # one, or each kind
            yield from execution_fields(section, f"{prefix}{name}.")


def test_which_fields_are_execution() -> None:
    """A field that moves between identity and execution is a decision, made here too."""
    assert set(execution_fields(Config)) == EXECUTION_FIELDS


def test_records_in_memory_train_the_same_bytes_on_ray(
    world: World, truth: dict[str, bytes]
) -> None:
    """They stay with the driver: workers read what it has stored."""
    names = ("record_id", "subject_id", "label", "image")
    columns = (world.ids, world.subjects, world.labels, world.images)
    root = world.space()
    Workspace(root).train(
        world.config(execution={"engine": "ray"}),
        data={"records": dict(zip(names, columns, strict=True))},
    )
    assert held(root) == truth
