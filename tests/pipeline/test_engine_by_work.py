"""`execution.engine auto`: who is asked, by what the work is, and that what each engine has under
way ends where it began."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from lmeraser_ray.config import Config, ExecutionConfig, RidgeConfig
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import Engine, EngineKind, InlineEngine, Outcome
from lmeraser_ray.pipeline.engine_by_work import BOUND_S, EngineByWork
from lmeraser_ray.pipeline.engines import is_by_work, open_engine
from lmeraser_ray.pipeline.jobs import Worker
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.pace import Pace
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.work_ahead import PRODUCT_PS, WorkAhead, cores, seconds_here
from lmeraser_ray.storage.store import Store
from tests.support.world import World


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster has an address, and this process is connected to none."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))


@dataclass(frozen=True)
class Named:
    """A job that returns its name."""

    key: str
    name = "named"
    weight = 1

    def run(self, _: Worker | None) -> str:
        return self.key


class Noted(Engine):
    """Two slots; notes what it is asked; one job ends a wait."""

    slots = 2

    def __init__(self, kind: EngineKind, notes: list[str]) -> None:
        self._kind, self.notes, self.under, self.count = kind, notes, dict[int, Named](), 0
        notes.append(f"{kind} is made")

    @property
    def kind(self) -> EngineKind:
        return self._kind

    def start(self) -> None:
        self.notes.append(f"{self._kind} starts")

    def features(self, parts: object) -> Iterator[tuple[int, int, object]]:  # type: ignore[override]
        self.notes.append(f"features by {self._kind}")
        yield from ()

    def submit(self, job: Named) -> int:  # type: ignore[override]
        self.count += 1
        self.under[self.count] = job
        return self.count

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        ticket = min(self.under)
        return [Outcome(ticket, f"{self.under.pop(ticket).key} by {self._kind}")]

    def cancel(self, ticket: int) -> None:
        del self.under[ticket]

    def records(self, ticket: int) -> int:
        return len(self.under[ticket].key)

    def close(self) -> None:
        self.notes.append(f"{self._kind} is closed")


class Case:
    """An engine by work, of two engines that note what they are asked."""

    def __init__(self) -> None:
        self.notes, self.said = list[str](), list[str]()
        self.seconds: float | None = None
        self.engine = EngineByWork(
            lambda: Noted("inline", self.notes),
            lambda: Noted("ray", self.notes),
            seconds=lambda _: self.seconds,
            say=self.said.append,
        )

    def choose(self, seconds: float | None, what: str = "training") -> None:
        """Announce work of so many seconds."""
        self.seconds = seconds
        self.engine.choose(WorkAhead(what, SimpleNamespace()))  # type: ignore[arg-type]


@pytest.fixture
def case() -> Case:
    return Case()


def test_little_work_is_done_here_and_makes_no_ray(case: Case) -> None:
    case.choose(2.6)
    case.engine.start()
    assert list(case.engine.run([Named("a"), Named("b")])) == [
        (0, "a by inline"),  # type: ignore[comparison-overlap]
        (1, "b by inline"),
    ]
    assert case.notes == ["inline is made", "inline starts"]
    assert case.said == ["training in this process: about 3 s of work"]
    assert case.engine.slots == 2
    assert case.engine.kind == "ray", "an earlier command may have had the records there"


@pytest.mark.parametrize("seconds", [BOUND_S, None])
def test_much_work_and_work_of_unknown_length_is_done_on_ray(
    case: Case, seconds: float | None
) -> None:
    case.choose(seconds)
    case.engine.start()
    assert case.notes == ["ray is made", "ray starts"] and case.engine.kind == "ray"
    [said] = case.said
    assert said.startswith("training on Ray: ")


def test_features_may_be_done_here_before_ray_trains_and_then_ray_does_all(case: Case) -> None:
    case.choose(1, "features")
    assert list(case.engine.features([])) == []
    case.choose(60)
    case.engine.start()
    case.choose(1, "answers")
    assert list(case.engine.run([Named("a")])) == [(0, "a by ray")]
    assert case.notes[1:] == ["features by inline", "ray is made", "ray starts"]
    assert [said.split(":")[0] for said in case.said] == [
        "features in this process",
        "training on Ray",
    ]
    assert case.engine.kind == "ray"
    case.engine.close()
    assert case.notes[4:] == ["inline is closed", "ray is closed"]


def test_what_is_under_way_stays_where_it_began(case: Case) -> None:
    """A request that comes meanwhile brings Ray: each ticket has its own outcome."""
    case.choose(1)
    first, second = case.engine.submit(Named("a")), case.engine.submit(Named("bb"))
    case.choose(60)
    third, fourth = case.engine.submit_together([Named("ccc"), Named("dddd")])
    tickets = (first, second, third, fourth)
    assert [case.engine.records(ticket) for ticket in tickets] == [1, 2, 3, 4]
    case.engine.cancel(fourth)
    found = [*case.engine.wait(), *case.engine.wait()]
    assert {each.ticket: each.result for each in found} == {
        first: "a by inline",
        second: "bb by inline",
        third: "ccc by ray",
    }
    assert case.engine.wait() == [] and case.engine.records(third) == 0


def test_before_there_is_work_nothing_is_made(case: Case) -> None:
    case.engine.start()
    assert case.engine.undecided
    assert (case.engine.gpus, case.engine.folders) == (0.0, ())
    assert case.engine.wait() == [] and case.notes == []
    case.choose(1)
    assert not case.engine.undecided


def test_work_that_nobody_announced_is_done_on_ray(case: Case) -> None:
    case.engine.submit(Named("a"))
    assert case.notes == ["ray is made", "ray starts"]


BY_WORK: dict[str, tuple[dict[str, object], str | None, bool]] = {
    "the default": ({}, None, True),
    "ray": ({"engine": "ray"}, None, False),
    "inline": ({"engine": "inline"}, None, False),
    "an address": ({"address": "auto"}, None, False),
    "the environment's address": ({}, "10.0.0.7:6379", False),
    "a local cluster, by its name": ({"address": "local"}, "10.0.0.7:6379", True),
    "no address in the environment": ({}, "", True),
    "GPUs of a worker": ({"task_gpus": 0}, None, False),
    "GPUs of an actor": ({"feature_gpus": 0.5}, None, False),
    "GPUs of the cluster": ({"gpus": 0}, None, False),
}


@pytest.mark.parametrize("name", BY_WORK)
def test_whether_the_work_decides(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fields, variable, expected = BY_WORK[name]
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert is_by_work(ExecutionConfig.model_validate(fields)) is expected


def test_a_cluster_that_this_process_is_connected_to_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: True))
    assert not is_by_work(ExecutionConfig())


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, BackboneCard, WorkAhead]:
    """What a training of 32 records in four shards announces, for two epochs of a tiny backbone."""
    world, said = World(tmp_path_factory.mktemp("work") / "world"), list[WorkAhead]()
    cards = list[BackboneCard]()

    class Announced(InlineEngine):
        def choose(self, ahead: WorkAhead) -> None:
            said.append(ahead)
            cards.append(self.worker.card)

    config = world.config()
    train(Session(world.space(), make_engine=Announced), config)
    assert [ahead.what for ahead in said] == ["features", "training", "answers"]
    assert said[0].pictures == len(world.ids) and said[0].nbytes == sum(map(len, world.images))
    assert len(said[1].builds) == 4
    return config, cards[0], said[1]


def other(config: Config, epochs: int, backbone: str = "tiny") -> Config:
    """The configuration with other epochs and another name of its backbone."""
    learner = config.learner.model_copy(update={"epochs": epochs})
    named = config.backbone.model_copy(update={"name": backbone})
    return config.model_copy(update={"learner": learner, "backbone": named})


Planned = tuple[Config, BackboneCard, WorkAhead]


def test_the_prediction_grows_with_the_passes_and_the_backbone(planned: Planned) -> None:
    config, card, work = planned
    short = seconds_here(work, config, card, Pace())
    assert short is not None and 0 < short < 0.1
    long = seconds_here(work, other(config, 400_000), card, Pace())
    assert long == pytest.approx(200_000 * short) and long > BOUND_S
    larger = seconds_here(work, other(config, 2, "tf_efficientnet_lite0"), card, Pace())
    assert larger == pytest.approx(short * 1.4 / 0.4)
    assert seconds_here(work, other(config, 2, "vit_base_patch16_224"), card, Pace()) is None


def test_the_pace_counts_where_it_is_slower_or_all_that_is_known(planned: Planned) -> None:
    config, card, work = planned
    bound = seconds_here(work, config, card, Pace())
    assert seconds_here(work, config, card, Pace(record_pass=(1e-9,))) == bound
    slow, unknown = Pace(record_pass=(1000.0,)), other(config, 2, "vit_base_patch16_224")
    found = seconds_here(work, config, card, slow)
    assert found is not None and found > 40, "a second for each record pass"
    assert seconds_here(work, unknown, card, slow) == found * cores()


def test_ridge_is_predicted_by_its_products(planned: Planned) -> None:
    """The smaller of two matrices, unless sums are kept: then a shard of ten records solves with
    2,000 features, as a shard of a thousand does."""
    _, card, work = planned

    def seconds(**fields: object) -> float:
        learner = RidgeConfig.model_validate({"projection": 2000, **fields})
        config = Config(learner=learner)
        found = seconds_here(work, config, card, Pace())
        assert found is not None
        return found

    assert seconds() < 0.1 < seconds(solve="gram")
    assert seconds(solve="gram") == pytest.approx(4 * 2000**3 * PRODUCT_PS / 1e12, rel=0.02)


@pytest.mark.parametrize(
    ("epochs", "where"), [(2, "in this process"), (400_000, "on Ray")], ids=["small", "large"]
)
def test_the_default_takes_the_large_plan_to_ray(
    planned: Planned, epochs: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the door, with the real prediction; none of the two engines is made."""
    monkeypatch.setattr(EngineByWork, "_engine", lambda _, kind: Noted(kind, []))
    config, card, work = planned
    config = other(config, epochs).model_copy(update={"execution": ExecutionConfig()})
    said = list[str]()
    engine = open_engine(Store(tmp_path), config, card, say=said.append)
    engine.choose(work)
    assert [line.split(":")[0] for line in said] == [f"training {where}"]
