"""`attack` on a tiny world, through the real flow: the law, the shadow models, what is kept and
what is written."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lmeraser_ray.cli.attack import LIGHT, LIGHTER, VERBS
from lmeraser_ray.cli.main import perform
from lmeraser_ray.config import Config
from lmeraser_ray.data.index import remaining
from lmeraser_ray.data.ingest import ingest
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.models.learners.base import Learner, ShardData, Stage, Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.linear_probe import LinearProbe
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tombstones import NoTombstones
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.attack import AttackRequest, attack, attacked_by, margins_of, outside
from lmeraser_ray.study.attack_report import Attack
from lmeraser_ray.study.shadows import Answer, ForgetSet, Shadows
from lmeraser_ray.study.study_folder import StudyFolder
from lmeraser_ray.study.unlearners import can_fine_tune, fine_tune
from lmeraser_ray.study.variants import variants
from tests.support.world import Recorder, World

pytestmark = pytest.mark.thorough  # one attack after the other; `test_attacks.py` has the parts
PROBE: dict[str, object] = {"kind": "linear_probe", "head_lr": 0.3, "epochs": 30, "batch": 8}
READ: dict[str, object] = {"readout": {"layer": None, "pool": "flatten"}}


def remembering(world: World) -> Config:
    """One shard and a head of more inputs than there are records: it can remember every one of
    them."""
    return world.config(
        backbone=READ,
        partition={"shards": 1},
        learner=PROBE,
        aggregation={"shards": 1},
        data={"test_fraction": 0.1, "buckets": 1},
    )


def asked(world: World) -> AttackRequest:
    return AttackRequest("tiny", remembering(world), shadows=12, forget=12, models=8)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World, Attack]:
    """One attack, which several tests look at."""
    world = World(tmp_path_factory.mktemp("attack") / "world")
    root = world.space()
    return (root, world, attack(Session(root), asked(world)))


def test_the_law_holds_and_names_other_states(done: tuple[Path, World, Attack]) -> None:
    _, _, found = done
    assert set(found.equality) == {"memorised", "random"}
    for law in found.equality.values():
        assert law["equal"]
        assert law["unlearned"] == law["retrained"] != law["before"]


def test_without_unlearning_the_attack_has_power(done: tuple[Path, World, Attack]) -> None:
    """The positive control is clearly above one half on memorised records, and above what is left
    after exact unlearning."""
    _, _, found = done
    methods = found.sets["memorised"]
    assert set(methods) == {"exact", "no-op", "fine-tuning"}
    assert methods["no-op"].power.auc > 0.65
    assert methods["no-op"].power.auc > methods["exact"].power.auc + 0.1
    assert methods["exact"].power.interval[0] < 0.5


def test_klom_is_of_the_whole_and_of_oracles(done: tuple[Path, World, Attack]) -> None:
    """Nothing is left of what was unlearned exactly, but for chance; no unlearning is found out.
    The null stands beside."""
    root, _, found = done
    for name in ("memorised", "random"):
        methods = found.sets[name]
        assert set(methods["exact"].klom) == {"forget", "retain", "test"}
        for method in methods.values():
            forget = method.klom["forget"]
            assert forget.records == 12
            assert forget.excess == pytest.approx(forget.mean - forget.null)
    exact, nothing = (
        found.sets["memorised"][method].klom["forget"].excess for method in ("exact", "no-op")
    )
    assert nothing > exact + 0.5
    text = (root / "attack.md").read_text()
    assert "KLoM forget, null" in text and "8 models of all records on each side" in text


def test_results_name_no_record_and_leave_nothing(done: tuple[Path, World, Attack]) -> None:
    root, world, found = done
    assert not (root / "work").exists()
    written = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
    assert not any(name.encode() in written for name in [*world.ids, *world.subjects])
    read = json.loads((root / "attack.json").read_text())
    assert (
        read["sets"]["random"]["exact"]["power"]["auc"] == found.sets["random"]["exact"].power.auc
    )
    assert read["setting"]["system"] == "tiny"
    assert (root / "attack.md").read_text().count("| memorised |") == 3


def test_a_second_run_asks_no_model_again(done: tuple[Path, World, Attack]) -> None:
    """Nothing is trained but the base and the law, and the results are the same."""
    root, world, found = done
    before = (root / "attack.json").read_text()
    recorder = Recorder()
    again = attack(recorder.session(root), asked(world))
    assert again.sets == found.sets
    assert len(recorder.trained) == 5  # the base, and each forget set unlearned and retrained
    assert json.loads(before)["sets"] == json.loads((root / "attack.json").read_text())["sets"]


def test_the_control_looks_for_the_record_and_not_for_its_set() -> None:
    """Models that remember that a set was there, and nothing of any record in it. Against models
    without the set they are told apart at once, so the control must not stand against those: both
    of its sides have the set, but for the record."""
    rng, n = np.random.default_rng(0), 30
    members = rng.random((64, n)) < 0.5
    forget = ForgetSet("all", np.ones(n, np.bool_))
    answers = {
        name: [Answer(rng.normal(size=n) + set_is_there, None) for _ in members]
        for name, set_is_there in (("no-op", 3.0), ("exact", 0.0), ("fine-tuning", 3.0))
    }
    found = {
        name: attacked_by(
            margins_of(answers[name]), margins_of(answers[outside(name)]), members, forget, seed=0
        ).auc
        for name in answers
    }
    assert found["no-op"] == pytest.approx(0.5, abs=0.05)
    assert found["exact"] == pytest.approx(0.5, abs=0.05)
    assert found["fine-tuning"] > 0.95, "what is left of the set counts against a method"


class Leaky(LinearProbe):
    """Leaks: draws from the process's generator, which every other training moves on."""

    def train(
        self, shard: ShardData, *, stage: Stage = Stage(), watch: Watch = Watch()
    ) -> Constituent:
        found = super().train(shard, stage=stage, watch=watch)
        noise = torch.randn(found.tensors["weight"].shape).numpy()
        return Constituent(
            found.classes, {**found.tensors, "weight": found.tensors["weight"] + noise}, found.about
        )


def test_a_leaky_learner_breaks_the_law(world: World) -> None:
    def leaky(store: Store, config: Config, card: BackboneCard) -> InlineEngine:
        learner: Learner = Leaky(config.learner)  # type: ignore[arg-type]
        return InlineEngine(store, config, card, learner=learner)

    torch.manual_seed(0)
    found = attack(
        Session(world.space(), make_engine=leaky),
        AttackRequest("tiny", remembering(world), shadows=8, forget=5, models=0),
    )
    assert not any(law["equal"] for law in found.equality.values())


def shadows_of(world: World, config: Config) -> tuple[Shadows, object]:
    """Shadow models of a world, and the context that closes their store."""
    study = StudyFolder(world.space())
    study.create()
    context = study.store(keep=True)
    store = context.__enter__()
    buckets = ingest(config, store, NoTombstones()).buckets
    flow = Session(study.root).flow(store, config, load_inputs(config).card).__enter__()
    return Shadows(study, flow, buckets, flow.evaluate(buckets, None).manifest), context


def test_halves_are_random_and_independent(world: World) -> None:
    shadows, context = shadows_of(world, remembering(world))
    members = np.array([shadows.member(number) for number in range(200)])
    assert not members[:, shadows.index.test].any()
    rates = members[:, shadows.index.training].mean(0)
    assert 0.35 < rates.min() <= rates.max() < 0.65
    assert abs(np.corrcoef(members[:, shadows.index.training[:2]].T)[0, 1]) < 0.25
    assert (shadows.member(3) == shadows.member(3)).all()
    context.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_answers_are_kept_by_hashed_order(world: World) -> None:
    """What is packed is unpacked, and not in the order of the ids."""
    shadows, context = shadows_of(world, remembering(world))
    n = len(shadows.index)
    answer = Answer(np.arange(n, dtype=np.float64), 0.5)
    found = shadows.unpack(shadows.pack(answer))
    assert (found.margins == answer.margins).all()
    assert shadows.order.tolist() != list(range(n))
    assert sorted(shadows.order.tolist()) == list(range(n))
    context.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_fine_tuning_goes_on_from_the_old_constituents(world: World) -> None:
    """Constituents with a forgotten record change, all others are those of before; the partition
    stays; a lost class is lost."""
    config = world.config(backbone=READ, learner=PROBE, partition={"shards": 4})
    shadows, context = shadows_of(world, config)
    flow, index = shadows.flow, shadows.index
    planned = flow.plan(shadows.buckets, shadows.base)
    hit = next(
        spec for spec in planned.plan.specs if len(set(index.names("label", spec.slices[0]))) > 1
    )
    labels = np.array(index.names("label"))
    lost = labels[hit.slices[0][0]]
    gone = np.zeros(len(index), np.bool_)
    gone[hit.slices[0][labels[hit.slices[0]] == lost]] = True
    after = fine_tune(flow, planned, shadows.base, gone, share=0.2)
    assert after.partition == shadows.base.partition
    for old, new in zip(shadows.base.shards, after.shards, strict=True):
        assert (old == new) == (old.number not in hit.shards)
    [changed] = [shard for shard in after.shards if shard.number in hit.shards]
    constituent = Constituent.from_bytes(flow.store.read(changed.constituent))
    assert lost not in constituent.classes
    assert changed.size == len(hit.slices[0]) - int(gone.sum())
    exact = flow.evaluate(remaining(flow.store, index, gone), shadows.base).manifest
    assert changed.constituent not in [shard.constituent for shard in exact.shards]
    whole = np.zeros(len(index), np.bool_)
    whole[hit.slices[0]] = True
    assert (
        len(fine_tune(flow, planned, shadows.base, whole, share=0.2).shards)
        == len(shadows.base.shards) - 1
    )
    context.__exit__(None, None, None)  # type: ignore[attr-defined]


def test_fine_tuning_begins_where_training_ended(world: World) -> None:
    """One step at the first, small rate of the schedule moves the head a little; from zeros it
    would be nowhere near."""
    shadows, context = shadows_of(world, remembering(world))
    flow = shadows.flow
    gone = shadows.chosen(shadows.index.training[:1].tolist())
    after = fine_tune(
        flow, flow.plan(shadows.buckets, shadows.base), shadows.base, gone, share=0.01
    )
    old, new = (
        Constituent.from_bytes(flow.store.read(state.shards[0].constituent)).tensors["weight"]
        for state in (shadows.base, after)
    )
    assert 0 < np.linalg.norm(new - old) < 0.2 * np.linalg.norm(old)
    context.__exit__(None, None, None)  # type: ignore[attr-defined]


[VERB] = VERBS


def test_the_verb(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration, a system and a seed from the command line."""
    path, root = world.folder / "tiny.yaml", world.space()
    path.write_text(
        yaml.safe_dump({**world.config(data={"buckets": 1}).model_dump(mode="json"), "seed": 5})
    )
    words = [
        "--study",
        str(root),
        "--quiet",
        "--config",
        str(path),
        "--system",
        "class-means",
        "--shadows",
        "8",
        "--models",
        "0",
        "--forget",
        "3",
    ]
    assert perform(VERB, [*words, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["state_equality"]["random"]["equal"]
    assert set(data["auc"]["memorised"]) == {"exact", "no-op"}
    assert json.loads((root / "attack.json").read_text())["setting"]["identity"]["seed"] == 5
    with pytest.raises(ConfigError, match="--seed 'x' was not understood"):
        perform(VERB, [*words, "--seed", "x"])


def test_the_light_setting_is_one_of_the_system() -> None:
    """Every field of it exists."""
    [ours] = variants(LIGHT, ["lmeraser"], LIGHTER, [])
    assert (ours.config(0).learner.kind, ours.config(0).partition.kind) == (
        "linear_probe",
        "adaptive",
    )


def test_a_closed_form_is_not_fine_tuned(world: World) -> None:
    assert can_fine_tune(world.config())
    assert not can_fine_tune(world.config(learner={"kind": "class_means"}))
    assert not can_fine_tune(world.config(learner={"kind": "shared_head", "prompt": {"width": 2}}))
    config = world.config(learner={"kind": "class_means"}, data={"buckets": 1})
    found = attack(
        Session(world.space()), AttackRequest("means", config, shadows=8, forget=5, models=0)
    )
    assert set(found.sets["random"]) == {"exact", "no-op"}


@pytest.mark.parametrize(
    ("field", "value"),
    [("shadows", 7), ("forget", 0), ("forget", 30), ("share", 0.0), ("models", 7)],
)
def test_what_cannot_be_asked_is_refused(world: World, field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"--{field} is {value}, "):
        attack(
            Session(world.space()),
            AttackRequest(**{"name": "tiny", "config": world.config(), field: value}),
        )  # type: ignore[arg-type]
