"""`attack`: does unlearning remove what it says? The law first, byte for byte; then evidence that
does not depend on the law.

    1. unlearn(train(D), U) = train(D \\ U), the second in an empty store → true or false, with both
       fingerprints
    2. shadow models on random halves → forget sets: the most memorised records (RUM, arXiv
       2406.01257), and random ones
    3. per-example U-LiRA and KLoM of: exact unlearning, no unlearning at all (the positive
       control), fine-tuning on the rest

The two sides of a record are disjoint models: those whose half had the record and unlearned it,
against those whose half never had it, all of them without the other records to forget. Unlearned
and retrained models of one half are the same bytes by the law, so that a test on one half would
show nothing; on two independent halves the AUC of exact unlearning is a fair estimate of one
half, noise included. The memorised records are chosen by other models than those that are attacked:
chosen by the same models, chance would look like memory.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lmeraser_ray.config import Config
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.data.index import remaining
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.fingerprint import fingerprint_of
from lmeraser_ray.pipeline.flow import load_inputs
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import require_disk
from lmeraser_ray.storage.store import Store
from lmeraser_ray.study.attacks import (
    Divergence,
    Floats,
    Power,
    divergence,
    likelihood_ratios,
    memorisation,
    power,
)
from lmeraser_ray.study.comparison_table import markdown
from lmeraser_ray.study.ingested_flow import ingested_flow
from lmeraser_ray.study.machine import describe
from lmeraser_ray.study.shadows import Answer, ForgetSet, Members, Shadows
from lmeraser_ray.study.study_folder import StudyFolder
from lmeraser_ray.study.unlearners import can_fine_tune


@dataclass(frozen=True)
class AttackRequest:
    """What is attacked.

    name: of the system; shadows: how many models are attacked, half as many more choose the
    memorised records; forget: how many records a forget set has; share: of the epochs, for
    fine-tuning; keep: leave the store when all is done.
    """

    name: str
    config: Config
    shadows: int = 64
    forget: int = 40
    share: float = 0.2
    keep: bool = False

    def check(self) -> None:
        """Errors: `ConfigError` where the numbers are too small for a result."""
        if self.shadows < 8:
            raise ConfigError(
                f"--shadows is {self.shadows}, expected 8 or more: half of them have a record, "
                "and each side needs 3."
            )
        if self.forget < 1:
            raise ConfigError(f"--forget is {self.forget}, expected 1 record or more.")
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"--share is {self.share}, expected a share of the epochs above 0, at most 1."
            )


@dataclass(frozen=True)
class Method:
    """The results of one way to unlearn: the power of the attack, KLoM on forgotten, retained and
    test records, and the test accuracy."""

    power: Power
    klom: dict[str, Divergence]
    accuracy: float | None


@dataclass(frozen=True)
class Attack:
    """The law in this setting and the results of the methods, each by forget set; the files, and
    the report as text."""

    equality: dict[str, dict[str, Any]]
    sets: dict[str, dict[str, Method]]
    files: tuple[Path, ...]
    text: str


def attack(session: Session, request: AttackRequest) -> Attack:
    """Attack a system in the study `session.root`. Answers of an interrupted run are used again.
    Errors: `ConfigError` where the request is too small or too large; those of training."""
    request.check()
    config, progress = request.config, session.progress
    study = StudyFolder(require_disk(session.root))
    inputs = load_inputs(config)
    study.create()
    with study.store(keep=request.keep) as store, ingested_flow(session, store, inputs) as opened:
        flow, buckets = opened
        progress.say("all records")
        shadows = Shadows(study, flow, buckets, flow.evaluate(buckets, None).manifest)
        refuse_too_few(shadows, request)
        trained = [
            ask_trained(shadows, number, request)
            for number in range(request.shadows + request.shadows // 2)
        ]
        forget = (
            memorised_set(shadows, trained[request.shadows :], request),
            shadows.random_set(request.forget),
        )
        equality = {one.name: state_equality(session, shadows, one) for one in forget}
        sets = {
            one.name: attacked(shadows, trained[: request.shadows], one, request) for one in forget
        }
    return written(study, request, equality, sets)


def refuse_too_few(shadows: Shadows, request: AttackRequest) -> None:
    """Errors: `ConfigError` where the forget set would be most of the records."""
    training = len(shadows.index.training)
    if 2 * request.forget > training:
        raise ConfigError(
            f"--forget is {request.forget}, but there are {training} training records: forget at "
            "most half of them."
        )


def ask_trained(shadows: Shadows, number: int, request: AttackRequest) -> Answer:
    """Return the answers of one shadow model."""
    shadows.flow.progress.say(
        f"shadow model {number + 1} of {request.shadows + request.shadows // 2}"
    )
    return shadows.trained(number)


def memorised_set(shadows: Shadows, trained: Sequence[Answer], request: AttackRequest) -> ForgetSet:
    """Return the most memorised training records, ties in the hashed order, as judged by models
    that are not attacked."""
    members = np.array([shadows.member(request.shadows + at) for at in range(len(trained))])
    found = memorisation(np.array([answer.confidences for answer in trained]), members)
    ordered = sorted(
        (at for at in shadows.order.tolist() if not shadows.index.test[at]),
        key=lambda at: -found[at],
    )
    return ForgetSet("memorised", shadows.chosen(ordered[: request.forget]))


def state_equality(session: Session, shadows: Shadows, forget: ForgetSet) -> dict[str, Any]:
    """Return whether unlearning a forget set gives the same bytes as training without it in an
    empty store, with the fingerprints."""
    flow = shadows.flow
    shadows.flow.progress.say(f"the law, {forget.name} records")
    after = flow.evaluate(remaining(flow.store, shadows.index, forget.gone), shadows.base).manifest
    unlearned = fingerprint_of(flow.store, after)
    names = {
        *shadows.index.names("record_id", np.flatnonzero(forget.gone)),
        *read_ids(flow.config.data.exclude, "data.exclude"),
    }
    with TemporaryDirectory(dir=require_disk(flow.store.scratch)) as folder:
        listed = Path(folder, "exclude.txt")
        listed.write_text("".join(f"{name}\n" for name in sorted(names)), encoding="utf-8")
        config = flow.config.model_copy(
            update={"data": flow.config.data.model_copy(update={"exclude": listed})}
        )
        empty = Store(Path(folder, "objects"))
        empty.create()
        with ingested_flow(session, empty, load_inputs(config)) as (never, buckets):
            retrained = fingerprint_of(empty, never.evaluate(buckets, None).manifest)
    shadows.tidy()
    return {
        "equal": unlearned == retrained,
        "unlearned": unlearned,
        "retrained": retrained,
        "before": shadows.base.fingerprint,
    }


def attacked(
    shadows: Shadows, trained: Sequence[Answer], forget: ForgetSet, request: AttackRequest
) -> dict[str, Method]:
    """Attack every method on one forget set."""
    share = request.share if can_fine_tune(request.config) else None
    answers: dict[str, list[Answer]] = {"exact": [], "no-op": list(trained)}
    for number in range(request.shadows):
        shadows.flow.progress.say(
            f"{forget.name} records, shadow model {number + 1} of {request.shadows}"
        )
        for name, answer in shadows.unlearned(number, forget, share).items():
            answers.setdefault(name, []).append(answer)
    members = np.array([shadows.member(number) for number in range(request.shadows)])
    never = np.array([answer.confidences for answer in answers["exact"]])
    return {
        name: judged(
            Sides(np.array([answer.confidences for answer in found]), never, members),
            shadows,
            forget,
            found,
        )
        for name, found in answers.items()
    }


@dataclass(frozen=True)
class Sides:
    """φ [m, n] of m models on n records, after a method and without ever having seen the forget
    set; members [m, n] bool: which model had which record."""

    method: Floats
    never: Floats
    members: Members

    def forgotten(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the models whose half had a record, and those whose half never had it."""
        return np.flatnonzero(self.members[:, at]), np.flatnonzero(~self.members[:, at])

    def halves(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Return two disjoint sets of models that all had a record that stays (a test record: of
        models that all did not)."""
        same = (
            np.flatnonzero(self.members[:, at])
            if self.members[:, at].any()
            else np.arange(len(self.members))
        )
        return same[::2], same[1::2]

    def margins(self, at: int, models: tuple[np.ndarray, np.ndarray]) -> tuple[Floats, Floats]:
        """Return the φ of a record, of the method's models and of the retrained ones."""
        return self.method[models[0], at], self.never[models[1], at]


def judged(sides: Sides, shadows: Shadows, forget: ForgetSet, answers: Sequence[Answer]) -> Method:
    """Compute U-LiRA and KLoM of one method."""
    gone, test = np.flatnonzero(forget.gone), np.flatnonzero(shadows.index.test)
    retained = np.flatnonzero(~forget.gone & ~shadows.index.test)
    models = [sides.forgotten(at) for at in gone.tolist()]
    margins = [sides.margins(at, found) for at, found in zip(gone.tolist(), models, strict=True)]
    scores = likelihood_ratios([a for a, _ in margins], [b for _, b in margins], models)
    known = [answer.accuracy for answer in answers if answer.accuracy is not None]
    found = {"forget": divergence(margins)}
    for name, part in (("retain", retained), ("test", test)):
        found[name] = divergence([sides.margins(at, sides.halves(at)) for at in part.tolist()])
    return Method(
        power(scores, seed=shadows.flow.config.seed),
        found,
        float(np.mean(known)) if known else None,
    )


def written(
    study: StudyFolder,
    request: AttackRequest,
    equality: dict[str, dict[str, Any]],
    sets: dict[str, dict[str, Method]],
) -> Attack:
    """Write the results as JSON and as a table."""
    config = request.config
    setting = {
        "system": request.name,
        "backbone": config.backbone.name,
        "identity": config.identity(),
        "shadows": request.shadows,
    }
    setting |= {"chosen_by": request.shadows // 2, "forget": request.forget, "share": request.share}
    found = {
        name: {method: asdict(result) for method, result in methods.items()}
        for name, methods in sets.items()
    }
    data = {"machine": describe(), "setting": setting, "state_equality": equality, "sets": found}
    text = f"{about(request)}\n\n{to_markdown(equality, sets)}\n\n{READING}"
    files = (
        study.write("attack.json", json.dumps(data, indent=1).encode()),
        study.write("attack.md", (text + "\n").encode()),
    )
    return Attack(equality, sets, files, text)


def about(request: AttackRequest) -> str:
    """Return a sentence on what was attacked."""
    config, many = request.config, request.shadows
    return (
        f"{request.name} ({config.partition.kind}, {config.learner.kind}, "
        f"{config.aggregation.kind}) on {config.backbone.name}, data {config.data.source}, seed "
        f"{config.seed}: {many} shadow models on random halves and {many // 2} more that chose "
        f"the memorised records, {request.forget} records in a forget set, fine-tuning for "
        f"{request.share:g} of the epochs."
    )


READING = (
    "AUC: of telling a model that had the record, and then unlearned it by the method, from one "
    "that never saw it: 0.5 is a coin.\nKLoM: KL divergence in nats of the record's margins from "
    "those of retrained models, mean and 95th percentile over records. Two finite\nsamples of one "
    "distribution diverge too: the row `exact` shows how far."
)
HEAD = (
    "records to forget",
    "method",
    "AUC",
    "95%",
    "TPR at 1% FPR",
    "KLoM forget",
    "p95",
    "retain",
    "p95",
    "test",
    "p95",
    "test accuracy",
)


def to_markdown(equality: dict[str, dict[str, Any]], sets: dict[str, dict[str, Method]]) -> str:
    """Return the table: the law, then a row for each forget set and method."""
    lines = [
        f"unlearn(train(D), U) = train(D \\ U), {name} records: {found['equal']} "
        f"({found['unlearned'][:16]}, {found['retrained'][:16]})\n"
        for name, found in equality.items()
    ]
    rows = [
        [name, method, *cells(result)]
        for name, methods in sets.items()
        for method, result in methods.items()
    ]
    return "\n".join([*lines, markdown(HEAD, rows)])


def cells(result: Method) -> list[str]:
    """Return the figures of a method."""
    found = result.power
    divergences = [
        f"{value:.2f}"
        for part in ("forget", "retain", "test")
        for value in (result.klom[part].mean, result.klom[part].p95)
    ]
    accuracy = "n/a" if result.accuracy is None else f"{result.accuracy:.3f}"
    return [
        f"{found.auc:.3f}",
        f"{found.interval[0]:.3f} to {found.interval[1]:.3f}",
        f"{found.tpr:.3f}",
        *divergences,
        accuracy,
    ]
