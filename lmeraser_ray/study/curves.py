"""Accuracy over epochs (Fig. 3 and 4 of the paper): every constituent is trained once more, and
answers its test queries after each epoch.

Only the accuracies are kept, and nothing is selected by them: the published constituents are those
of the last epoch.
"""

from dataclasses import dataclass

import numpy as np

from lmeraser_ray.models.aggregation.answers import Answers
from lmeraser_ray.models.aggregation.routes import combine
from lmeraser_ray.models.learners.base import Watch
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.operations.evaluate import score_of
from lmeraser_ray.pipeline.answering import Asking, Stored
from lmeraser_ray.pipeline.flow import Flow, Planned
from lmeraser_ray.pipeline.jobs import TrainConstituent, Worker
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.plan import Build, ConstituentSpec
from lmeraser_ray.pipeline.queries import AnswerRows


@dataclass(frozen=True)
class TrainAndAnswer:
    """A job that trains a constituent and has it answer after each epoch. asked: what each shard
    that the constituent serves is asked, by the shard's place."""

    training: TrainConstituent
    asked: tuple[tuple[int, AnswerRows], ...]
    name = "curve"

    @property
    def key(self) -> str:
        """The training's key."""
        return self.training.key

    @property
    def weight(self) -> int:
        """The training's weight."""
        return self.training.weight

    def run(self, worker: Worker) -> list[dict[int, Answers]]:
        """Return the answers after each epoch of each stage, by shard; without epochs those of the
        trained constituent alone."""
        asked = [(place, rows, rows.queries.see(worker)) for place, rows in self.asked]
        found: list[dict[int, Answers]] = []

        def ask(constituent: Constituent) -> None:
            found.append(
                {
                    place: worker.answer(constituent, inputs, rows.group, rows.member)
                    for place, rows, inputs in asked
                }
            )

        *_, (_, last) = self.training.stages(worker, Watch(epoch=lambda snapshot: ask(snapshot())))
        if not found:
            ask(last)
        return found


def accuracy_by_epoch(flow: Flow, planned: Planned, manifest: Manifest) -> list[float]:
    """Return the test accuracy after each epoch, counted through all stages; empty without test
    records.

    planned: the plan that `manifest` was made by. A constituent with fewer epochs than another (a
    shard of one class has none) keeps its answers meanwhile.
    """
    index, test = planned.index, np.flatnonzero(planned.index.test)
    if len(test) == 0:
        return []
    flow.engine.start()
    asking = Asking(flow, manifest, Stored(index, planned.features, test))
    routes, asked = asking.routes, asking.asked
    places = {
        number: place for place, number in enumerate(shard.number for shard in manifest.shards)
    }

    def rows_of(place: int) -> AnswerRows:
        return asking.job(place, asked[place], manifest.shards[place].constituent)

    def job_of(spec: ConstituentSpec) -> TrainAndAnswer:
        served = [places[number] for number in spec.shards if places[number] in asked]
        return TrainAndAnswer(
            flow.training(planned, Build(spec, 0)),
            tuple((place, rows_of(place)) for place in served),
        )

    jobs = sorted(
        (job for job in map(job_of, planned.plan.specs) if job.asked), key=lambda job: -job.weight
    )
    with flow.progress.bar("curves", sum(job.weight for job in jobs), "rec") as advance:
        found: dict[int, list[dict[int, Answers]]] = {}
        for at, answers in flow.engine.run(jobs):
            found[at] = answers
            advance(jobs[at].weight)
    epochs = max(len(answers) for answers in found.values())
    labels = index.names("label", test)
    curve = []
    for epoch in range(epochs):
        now = {
            place: answer
            for answers in found.values()
            for place, answer in at_epoch(answers, epoch, epochs).items()
        }
        curve.append(score_of(combine(routes, asked, now, index.classes), labels).accuracy or 0.0)
    return curve


def at_epoch(answers: list[dict[int, Answers]], epoch: int, epochs: int) -> dict[int, Answers]:
    """Return a constituent's answers at an epoch of the longest training."""
    return answers[
        min(len(answers) - 1, (epoch + 1) * len(answers) // epochs - 1 if len(answers) > 1 else 0)
    ]
