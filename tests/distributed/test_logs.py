"""What workers log: a line when a job begins and when it ends, with keys and numbers, and no id of
anybody."""

from dataclasses import dataclass

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.distributed import worker as module
from lmeraser_ray.distributed.worker import WorkerSpec, run_job
from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.engine import InlineEngine
from lmeraser_ray.pipeline.jobs import Job, Worker
from lmeraser_ray.pipeline.logs import line
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from tests.support.world import World


@dataclass(frozen=True)
class Poor:
    """A job that names a record in its error."""

    name = "train"
    key = "ab" * 32
    weight = 7

    def run(self, worker: Worker) -> None:
        raise DataError("the picture of person-1/picture-3 is damaged")


def told(text: str) -> list[dict[str, str]]:
    """Lines as they are read by machines."""
    return [
        dict(word.split("=", 1) for word in found.split(" "))
        for found in text.splitlines()
        if found.startswith("time=")
    ]


def test_a_word_stays_a_word_and_anything_else_is_json() -> None:
    facts = {
        "a": "word",
        "b": "two words",
        "c": 1.5,
        "d": None,
        "e": "",
        "f": ["x"],
        "g": 'quo"te',
        "h": "k=v",
        "i": True,
    }
    assert line(facts) == 'a=word b="two words" c=1.5 e="" f=["x"] g="quo\\"te" h="k=v" i=true'


def test_a_job_that_fails_is_told_by_its_kind(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], world: World
) -> None:
    monkeypatch.setattr(module, "worker_of", lambda *_: None)
    with pytest.raises(DataError):
        run_job(
            WorkerSpec(world.space(), world.config().model_dump_json(), card_of(world), 0.25),
            "scratch",
            Poor(),
            None,
        )
    begun, failed = told(capfd.readouterr().err)
    assert (begun["event"], failed["event"], failed["error"]) == (
        "train-started",
        "train-failed",
        "DataError",
    )
    assert (
        begun["shard"] == failed["shard"] == Poor.key
        and begun["records"] == "7"
        and begun["gpus"] == "0.25"
    )
    assert float(failed["seconds"]) >= 0 and not any("person" in value for value in failed.values())


def card_of(world: World) -> BackboneCard:
    """Of the tiny backbone, as a training finds it."""
    found: list[BackboneCard] = []

    def make(store: Store, config: Config, card: BackboneCard) -> InlineEngine:
        found.append(card)
        return InlineEngine(store, config, card)

    train(Session(world.space(), make_engine=make), world.config())
    return found[0]


def test_the_jobs_of_a_training_are_told(capfd: pytest.CaptureFixture[str], world: World) -> None:
    """Every constituent's key is in a line, and nobody's id or subject."""

    class Logging(InlineEngine):
        """Does what a task does, in this process."""

        def submit(self, job: Job[object]) -> int:
            spec = WorkerSpec(
                self.worker.store.root,
                self.worker.config.model_dump_json(),
                self.worker.card,
                run=self.worker.store.run,
            )

            class Through:
                name, key, weight = job.name, job.key, job.weight

                def run(self, worker: Worker) -> object:
                    return run_job(spec, "", job, None)

            return super().submit(Through())

    root = world.space()
    done = train(Session(root, make_engine=Logging), world.config())
    text = capfd.readouterr().err
    ended = [found["shard"] for found in told(text) if found["event"] == "train-ended"]
    assert sorted(ended) == sorted({shard.constituent.key for shard in done.manifest.shards})
    assert not any(name in text for name in (*world.ids, *world.subjects))
