"""What a sweep judges by, and the record of its choice: held-out people, public pictures, and
nobody who was erased."""

import pytest

from lmeraser_ray.config.options import load_config, override
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.choice import choice_of, read_choice
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support.law import index_of
from tests.support.sweeps import question, run, sides
from tests.support.world import World

SYSTEMS = (("system", ["class-means", "ridge"]), ("learner.penalty", ["0.1", "10"]))


@pytest.mark.thorough
def test_who_was_erased_before_is_left_out(world: World) -> None:
    space = world.space()
    train(Session(space), world.config())
    person = dict(zip(world.ids, world.subjects, strict=True))[
        sorted(sides(world, world.config())[1])[0]
    ]
    unlearn(Session(space), ErasureTargets(subjects=(person,)))
    done = run(world, question(world, workspace=space))
    assert done.result.records.erased == 0, "not while it ran"
    run(world, question(world), root=world.folder / "other")
    assert (
        choice_of(world.folder / "study" / "choice.json").seen
        < choice_of(world.folder / "other" / "choice.json").seen
    )


def test_validation_holds_out_people_and_never_looks_at_test_records(world: World) -> None:
    root = world.space()
    train(Session(root), world.config())
    training, test = sides(world, world.config(sweep={"on": "test"}))
    left, held = sides(world, world.config())
    assert left | held == training
    assert not held & test
    assert held
    person = dict(zip(world.ids, world.subjects, strict=True))
    assert not {person[name] for name in left} & {person[name] for name in held}
    gone = sorted(left)[0]
    smaller, same = sides(world, world.without([gone]))
    assert (smaller, same) == (left - {gone}, held), "a deletion moves nobody"


@pytest.mark.parametrize("kind", ["parquet", "folder"])
def test_a_public_sweep_reads_no_private_record(world: World, kind: str) -> None:
    public = World(world.folder / "public", 30)
    for name, label, image in (
        zip(public.ids, public.labels, public.images, strict=True) if kind == "folder" else ()
    ):
        path = public.folder / "pictures" / label / f"{name.replace('/', '-')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)
    sections = {
        "sweep": {
            "on": "public",
            "path": str(public.folder / "pictures" if kind == "folder" else public.path),
        }
    }
    world.path.unlink()
    done = run(world, question(world, **sections))
    assert done.result.records.training + done.result.records.queries == 30
    assert choice_of(world.folder / "study" / "choice.json").seen == frozenset()


@pytest.mark.thorough
def test_the_choice_trains_and_is_recorded(world: World) -> None:
    """best.yaml → train → the manifest → unlearn says what the choice had seen."""
    done = run(world, question(world))
    root = world.folder / "study"
    text = (root / "best.yaml").read_text()
    assert text.startswith(f"# lmeraser train --config {root}/best.yaml")
    config = load_config(root / "best.yaml", [])
    assert config.sweep.record == (root / "choice.json").resolve()
    assert f"partition.shards={config.partition.shards}" == done.result.choice.point.name
    space = world.space()
    manifest = train(Session(space), config).manifest
    assert manifest.choice is not None
    assert (
        manifest.choice["records"]
        == done.result.records.training + done.result.records.queries
        == manifest.training_records
    )
    folder = WorkspaceFolder(space)
    index, _ = index_of(space)
    trains = index.names("record_id", index.training)[0]
    assert unlearn(Session(space), ErasureTargets((trains,))).seen == 1
    after = folder.require_published().choice
    assert after is not None
    assert after["records"] == manifest.choice["records"] - 1


def test_a_chosen_system_is_recorded_with_all_that_it_decides(world: World) -> None:
    """best.yaml has its sections, choice.json too, and another system is none that was chosen."""
    done = run(world, question(world, *SYSTEMS))
    assert list(done.result.configs) == ["class-means", "ridge penalty=0.1", "ridge penalty=10"]
    config = load_config(world.folder / "study" / "best.yaml", [])
    chosen = done.result.configs[done.result.choice.point.name]
    assert config.identity() == chosen.identity()
    choice = read_choice(config)
    assert choice is not None
    assert choice.fields["learner.kind"] == config.learner.kind
    assert choice.fields["partition.shards"] == "1"
    assert "system" not in choice.fields, "a path may be private, and a system may change"
    manifest = train(Session(world.space()), config).manifest
    assert manifest.choice is not None
    assert manifest.choice["fields"] == dict(choice.fields)
    for name, value in (("learner.kind", "neighbors"), ("partition.shards", "2")):
        with pytest.raises(ConfigError, match=rf"{name} \w+ was chosen"):
            read_choice(override(config, [(name, value)]))


def test_a_file_may_be_a_system(world: World) -> None:
    path = world.folder / "own.yaml"
    path.write_text(
        "partition: {kind: random, shards: 2}\nlearner: {kind: class_means}\n"
        "aggregation: {kind: all}\n"
    )
    done = run(world, question(world, ("system", [str(path)])))
    assert done.result.choice.point.name == "own"
    for written in (world.folder / "study").glob("*.json"):
        assert str(path) not in written.read_text(), "a path may be private"
