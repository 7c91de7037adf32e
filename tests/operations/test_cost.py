"""`cost` in a workspace of every kind of system: what it says is what `unlearn` then does; and
parameters, counted without reading them."""

import json
from typing import Any

import numpy as np
import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.config import Config
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.parameters import count_parameters
from lmeraser_ray.operations.cost import CostQuestion, cost
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from tests.support.quick import cases
from tests.support.world import TINY, World, picture

SGD: dict[str, Any] = {"epochs": 1, "batch": 8}
ADAPTIVE = {"kind": "adaptive", "sample_size": 12, "shards": 4}
RANDOM = {"kind": "random", "shards": 5}
ALL = {"kind": "all"}
SYSTEMS: dict[str, dict[str, Any]] = {
    "adaptive": {"partition": ADAPTIVE, "learner": {"kind": "class_means"}},
    "adaptive in slices": {"partition": ADAPTIVE, "learner": {"kind": "class_means", "slices": 3}},
    "random": {"partition": RANDOM, "learner": {"kind": "neighbors"}, "aggregation": ALL},
    "random in slices": {
        "partition": RANDOM,
        "learner": {"kind": "class_means", "slices": 4},
        "aggregation": ALL,
    },
    "public": {
        "partition": {"kind": "public", "sample_size": 15, "shards": 6},
        "learner": {"kind": "neighbors", "slices": 2},
    },
    "probe": {"partition": ADAPTIVE, "learner": {"kind": "linear_probe", "epochs": 3, "batch": 4}},
    "joint": {
        "partition": ADAPTIVE,
        "learner": {"kind": "shared_head", **SGD, "prompt": {"width": 2}},
        "aggregation": ALL,
    },
}


def config_of(world: World, name: str) -> Config:
    tree = {**json.loads(json.dumps(TINY)), **json.loads(json.dumps(SYSTEMS[name]))}
    tree["data"]["path"] = str(world.path)
    tree["partition"]["unit"] = "record"
    if name == "public":
        folder = world.folder / "public"
        folder.mkdir()
        for i in range(15):
            (folder / f"{i}.png").write_bytes(picture(1000 + i, i % 3))
        tree["partition"]["path"] = str(folder)
    return Config.model_validate(tree)


def training_ids(session: Session) -> list[str]:
    folder = session.folder
    index = RecordIndex.read(
        folder.store, [state.bucket for state in folder.require_published().buckets]
    )
    return index.names("record_id", index.training)


@pytest.mark.parametrize(
    "name", cases([(name,) for name in SYSTEMS], quick=[("random",), ("adaptive in slices",)])
)
def test_cost_is_what_the_deletion_then_does(world: World, name: str) -> None:
    """For several records, one after the other, each in the state that the last one left."""
    session = Session(world.space())
    train(session, config_of(world, name))
    for _ in range(3):
        ids = training_ids(session)
        costing = cost(session)
        costs = costing.costs
        worst = int(np.argmax(costs.passes))
        assert costing.names[worst] == ids[worst]
        done = unlearn(session, ErasureTargets((ids[worst],)))
        assert done.passes == costs.passes[worst]
        joint = name == "joint"
        assert (
            len(session.folder.require_published().shards) if joint else len(done.rebuilt)
        ) == costs.touched[worst]
        assert costs.sampled[worst] == done.reclustered
        assert costing.retrained[worst] == pytest.approx(
            (1 if joint else costs.touched[worst]) * costing.parameters["constituent"]
        )
        assert not joint or (costs.passes + costs.n - 1 + costs.tests == costs.total).all()
        if name in ("random", "random in slices", "public"):
            assert not costs.sampled.any() and (costs.touched <= 1).all()


@pytest.mark.parametrize(
    ("learner", "prompt"),
    [
        ({"kind": "prompt_head", **SGD, "prompt": {"width": 2}}, 3 * (16**2 - 12**2)),
        ({"kind": "prompt_head", **SGD, "prompt": {"kind": "fixed_patch", "width": 5}}, 3 * 5**2),
        ({"kind": "prompt_head", **SGD, "prompt": {"kind": "random_patch", "width": 5}}, 3 * 5**2),
        ({"kind": "prompt_head", **SGD, "prompt": {"width": 0}}, 0),
        ({"kind": "shared_head", **SGD, "prompt": {"width": 2}}, 4 * 3 * (16**2 - 12**2)),
        ({"kind": "whole_model", **SGD}, 0),
        ({"kind": "ridge"}, 0),
    ],
)
def test_parameters_are_counted_from_the_head_of_the_file(
    world: World, learner: dict[str, Any], prompt: int
) -> None:
    tree = json.loads(json.dumps(TINY)) | {
        "learner": learner,
        "aggregation": ALL,
        "partition": ADAPTIVE,
    }
    tree["data"]["path"] = str(world.path)
    session, config = Session(world.space()), Config.model_validate(tree)
    manifest = train(session, config).evaluated.manifest
    store = session.folder.store
    counts = []
    for item in {shard.constituent for shard in manifest.shards}:
        tensors = Constituent.from_bytes(store.read(item)).tensors
        counts.append(
            prompt + sum(tensor.size for name, tensor in tensors.items() if name != "prompt")
        )
        assert count_parameters(store, item, config.learner, 16) == counts[-1]
    found = cost(session).parameters
    assert found["total"] == sum(counts)
    assert found["constituent"] == pytest.approx(np.mean(counts))
    assert 0 < found["mean"] <= found["p99"] <= found["worst"]  # type: ignore[operator]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x05",
        b"\xff" * 40,
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
    ],
)
def test_a_damaged_constituent_is_named(world: World, damage: bytes) -> None:
    session, config = Session(world.space()), config_of(world, "random")
    item = train(session, config).evaluated.manifest.shards[0].constituent
    path = session.folder.store.path(item)
    path.chmod(0o600)
    path.write_bytes(damage)
    with pytest.raises(VerificationError, match=item.key):
        cost(session)


@pytest.mark.parametrize("asked", [",", "", " , "])
def test_no_record_is_not_every_record(
    world: World, asked: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = world.space()
    train(Session(root), config_of(world, "random"))
    assert cli.run(None, ["cost", "--workspace", str(root), "--records", asked]) == 2
    assert "name no record" in capsys.readouterr().err
    assert cli.run(None, ["cost", "--workspace", str(root), "--json"]) == 0
    data = last_json(capsys)
    assert data["record"]["mean_share"] > 0 and data["parameters"]["mean"] > 0


def test_a_test_record_costs_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(world.space())
    train(session, config_of(world, "joint"))
    name = next(name for name in world.ids if name not in training_ids(session))
    words = ["cost", "--workspace", str(session.root), "--records", name, "--each", "--json"]
    assert cli.run(None, words) == 0
    data = last_json(capsys)
    nothing = {"passes": 0, "share": 0.0, "shards": 0, "members": 0, "parameters": 0.0}
    assert data["deletions"] == [{"record": name, **nothing}]
    assert (data["erasure"]["passes"], data["erasure"]["records"]) == (0, 1)
    assert data["parameters"]["mean"] is None


def test_what_is_named_is_one_erasure(world: World) -> None:
    """Ids, subjects and their records overlap: each record counts once; the work is less than the
    sum of each by itself, and what the erasure then takes."""
    session = Session(world.space())
    train(session, config_of(world, "probe"))
    ids = training_ids(session)[:6]
    question = CostQuestion(ErasureTargets((*ids, ids[0]), ("person-3",)), each=True)
    costing = cost(session, question)
    assert costing.erasure is not None
    assert costing.erasure.records == len({*ids, *(i for i in world.ids if "person-3/" in i)})
    assert set(ids) <= set(costing.names)
    assert 0 < costing.erasure.passes < costing.costs.passes.sum()
    assert list(costing.to_pandas()["record"]) == list(costing.names)
    done = unlearn(session, question.targets)
    assert done.passes == costing.erasure.passes
    assert len(done.rebuilt) == costing.erasure.shards


def test_units(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A person, batches and additions, each with what is exact and what was drawn."""
    session = Session(world.space())
    train(session, config_of(world, "probe"))
    words = ["cost", "--workspace", str(session.root), "--person", "--batch", "10%,0.2"]
    assert cli.run(None, [*words, "--adding", "10%", "--json"]) == 0
    data = last_json(capsys)
    person, one, two, adding = data["units"]
    assert person["what"] == "one person (2 records)"
    assert person["exact"] and person["measured"] == person["population"]
    assert not one["exact"] and one["interval"] >= 0 and one["measured"] == 5
    assert 0 < person["mean_share"] <= person["p99_share"] <= person["worst_share"] <= 1
    assert one["records"] < two["records"] and one["mean_share"] < two["mean_share"]
    assert one["features"] == 0 < adding["features"] == adding["records"]
    assert person["mean_seconds"] > 0, "the training said how fast it was"
    assert cli.run(None, [*words]) == 0
    said = capsys.readouterr()
    assert "5 drawn" in said.out and "a batch of 10%" in said.out and "drawn by hash" in said.err
    assert cost(session, CostQuestion(person=True)).units[0].figures() == {
        name: value for name, value in person.items() if "seconds" not in name
    }, "the same each time"


def test_groups_where_nobody_knows_whose_records_they_are(world: World) -> None:
    tree = config_of(world, "probe").model_dump(mode="json")
    tree["data"]["subject_column"] = None
    session = Session(world.space())
    train(session, Config.model_validate(tree))
    [unit] = cost(session, CostQuestion(person=True)).units
    assert unit.what == "10 records by hash"
    assert set(unit.column("records").tolist()) == {10}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batch", "0%"], "above 0% and below 100%"),
        (["--batch", "100%"], "above 0% and below 100%"),
        (["--adding", "1.0"], "above 0% and below 100%"),
        (["--adding", "many"], "'many' was not understood"),
        (["--subjects", "person-77"], "no subject 'person-77'"),
        (["--records", "nobody"], "no record 'nobody'"),
    ],
)
def test_what_cannot_be_asked(
    world: World, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = world.space()
    train(Session(root), config_of(world, "random"))
    assert cli.run(None, ["cost", "--workspace", str(root), *words]) in (2, 3)
    assert said in capsys.readouterr().err
    with pytest.raises(ConfigError, match="above 0%"):
        CostQuestion(batches=(1.0,))


def test_without_training_records_nothing_is_asked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session(world.space())
    train(session, config_of(world, "random"))
    unlearn(session, ErasureTargets(training_ids(session)))
    for words in ([], ["--batch", "1%"], ["--person"]):
        assert cli.run(None, ["cost", "--workspace", str(session.root), *words]) == 3
        assert "no training records" in capsys.readouterr().err


def test_a_damaged_pace_predicts_nothing(world: World) -> None:
    root = world.space()
    train(Session(root), config_of(world, "probe"))
    assert cost(Session(root)).pace.seconds(100) is not None
    for damaged in (b"", b"[]", b'{"format": 9, "record_pass": [1], "feature_pass": []}'):
        (root / "pace.json").write_bytes(damaged)
        assert cost(Session(root)).pace.seconds(100) is None


def last_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found
