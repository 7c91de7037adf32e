"""`attack`: does unlearning remove what it says? The law first, byte for byte; then evidence that
does not depend on the law.

    1. unlearn(train(D), U) = train(D \\ U), the second in an empty store → true or false, with both
       fingerprints
    2. shadow models on random halves → forget sets: the most memorised records (RUM, arXiv
       2406.01257), and random ones
    3. per-example U-LiRA on these halves of: exact unlearning, fine-tuning on the rest, and no
       unlearning at all (the positive control)
    4. KLoM of the same three, on models of all records against oracles (see `study.oracles`)

The two sides of a record are disjoint models: those whose half had the record, after the method,
against those whose half never had it. What the second side went through depends on the question
(`outside`):

- exact, fine-tuning: trained without the whole forget set. What is unlearned should look like that.
- no-op: as the first side, not unlearned, so that the record is all that the two sides differ in.
  Against models without the whole forget set, a control would find the other records of the set,
  and have power where the attack on the one record has none.

Unlearned and retrained models of one half are the same bytes by the law, so that a test on one half
would show nothing; on two independent halves the AUC of exact unlearning is a fair estimate of one
half, noise included. The memorised records are chosen by other models than those that are attacked:
chosen by the same models, chance would look like memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from lmeraser_ray.study.attack_report import Attack, Method, written
from lmeraser_ray.study.attacks import (
    Divergence,
    Floats,
    Power,
    bounded,
    divergence,
    likelihood_ratios,
    memorisation,
    power,
)
from lmeraser_ray.study.ingested_flow import ingested_flow
from lmeraser_ray.study.oracles import Oracles
from lmeraser_ray.study.shadows import Answer, ForgetSet, Members, Shadows
from lmeraser_ray.study.study_folder import StudyFolder
from lmeraser_ray.study.unlearners import can_fine_tune

FEWEST = 8
"""The least number of models on a side of KLoM. 200 say more: the fewer they are, the larger is the
null, and the noise of what is above it."""


@dataclass(frozen=True)
class AttackRequest:
    """What is attacked.

    name: of the system; shadows: how many models are attacked, half as many more choose the
    memorised records; forget: how many records a forget set has; share: of the epochs, for
    fine-tuning; models: on each side of KLoM, 0 leaves it out; keep: leave the store when all is
    done.
    """

    name: str
    config: Config
    shadows: int = 64
    forget: int = 40
    share: float = 0.2
    models: int = 200
    keep: bool = False

    def check(self) -> None:
        """Errors: `ConfigError` where the numbers are too small for a result."""
        if self.shadows < 8:
            raise ConfigError(
                f"--shadows is {self.shadows}, expected 8 or more: half of them have a record, "
                "and each side needs 3."
            )
        if self.models != 0 and self.models < FEWEST:
            raise ConfigError(
                f"--models is {self.models}, expected {FEWEST} or more on each side of KLoM (200 "
                "say more), or 0 to leave it out."
            )
        if self.forget < 1:
            raise ConfigError(f"--forget is {self.forget}, expected 1 record or more.")
        if not 0 < self.share <= 1:
            raise ConfigError(
                f"--share is {self.share}, expected a share of the epochs above 0, at most 1."
            )

    def setting(self) -> dict[str, Any]:
        """Return what is attacked as JSON."""
        config = self.config
        return {
            "system": self.name,
            "data": config.data.source,
            "backbone": config.backbone.name,
            "identity": config.identity(),
            "shadows": self.shadows,
            "chosen_by": self.shadows // 2,
            "forget": self.forget,
            "share": self.share,
            "models": self.models,
        }

    def about(self) -> str:
        """Return a sentence on what is attacked."""
        config, many = self.config, self.shadows
        return (
            f"{self.name} ({config.partition.kind}, {config.learner.kind}, "
            f"{config.aggregation.kind}) on {config.backbone.name}, data {config.data.source}, "
            f"seed {config.seed}: {many} shadow models on random halves and {many // 2} more that "
            f"chose the memorised records, {self.models} models of all records on each side of "
            f"KLoM, {self.forget} records in a forget set, fine-tuning for {self.share:g} of the "
            "epochs."
        )


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
    return written(study, request.setting(), request.about(), equality, sets)


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
    found = memorisation(np.array([answer.margins for answer in trained]), members)
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
    klom = divergences(Oracles(shadows, share), forget, request) if request.models else {}
    return {
        name: Method(
            attacked_by(
                margins_of(found),
                margins_of(answers[outside(name)]),
                members,
                forget,
                seed=request.config.seed,
            ),
            klom.get(name, {}),
            mean_accuracy(found),
        )
        for name, found in answers.items()
    }


def outside(method: str) -> str:
    """Return the method whose models stand on the other side of a record: models that never had
    the record, and otherwise are what the question needs (see the module)."""
    return "no-op" if method == "no-op" else "exact"


def margins_of(answers: Sequence[Answer]) -> Floats:
    """Return φ [m, n] of m models on n records."""
    return np.array([answer.margins for answer in answers])


def mean_accuracy(answers: Sequence[Answer]) -> float | None:
    """Return the mean test accuracy of models, None without test records."""
    known = [answer.accuracy for answer in answers if answer.accuracy is not None]
    return float(np.mean(known)) if known else None


def attacked_by(
    method: Floats, other: Floats, members: Members, forget: ForgetSet, *, seed: int
) -> Power:
    """Compute the power of U-LiRA. method, other: φ [m, n] of m models on n records, after the
    method and on the other side; members [m, n] bool: which model's half had which record."""
    gone = np.flatnonzero(forget.gone).tolist()
    models = [(np.flatnonzero(members[:, at]), np.flatnonzero(~members[:, at])) for at in gone]
    inside, never = (
        [bounded(side[numbers[which], at]) for at, numbers in zip(gone, models, strict=True)]
        for which, side in enumerate((method, other))
    )
    return power(likelihood_ratios(inside, never, models), seed=seed)


def divergences(
    oracles: Oracles, forget: ForgetSet, request: AttackRequest
) -> dict[str, dict[str, Divergence]]:
    """Compute KLoM of every method on forgotten, retained and test records."""
    shadows, many, answers = oracles.shadows, request.models, dict[str, list[Answer]]()
    for number in range(1, many + 1):
        shadows.flow.progress.say(f"{forget.name} records, model {number} of {many} and its oracle")
        for name, answer in oracles.unlearned(number, forget).items():
            answers.setdefault(name, []).append(answer)
        answers.setdefault("oracle", []).append(oracles.retrained(many + number, forget))
    oracle, test = margins_of(answers.pop("oracle")), shadows.index.test
    parts = {"forget": forget.gone, "retain": ~forget.gone & ~test, "test": test}
    return {
        name: {
            part: divergence(margins_of(found)[:, at], oracle[:, at], seed=shadows.flow.config.seed)
            for part, at in parts.items()
        }
        for name, found in answers.items()
    }
