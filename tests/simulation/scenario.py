"""Scenarios: who does what and when, and which faults strike, as a function of a seed."""

import math
import random
from dataclasses import dataclass, replace

from tests.simulation.machine import Fault
from tests.simulation.population import KINDS, population

UNKNOWN = "nobody-here/7"
KINDS_OF_FAULTS = {
    "kill": 40, "power": 15, "pause": 15, "cut": 12, "stale": 5, "error": 8, "full": 5,
}  # fmt: skip
SORTS = ("COMMIT", "after COMMIT", "guard", "disk: rename CURRENT", "disk: remove", "write")
"""Points at which much is at stake."""
JUMPS = (-3 * 86400.0, -3600.0, -60.0, 30.0, 3600.0, 40 * 86400.0)


@dataclass(frozen=True)
class Act:
    """Somebody does something at a moment. records, subjects: that it is about; of: the number of
    the submission that it is about."""

    at: float
    slot: str
    what: str
    records: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    of: int = 0
    quarantine: bool = False
    seconds: float = 0.0

    def line(self) -> str:
        """The act in a line."""
        named = [f"record {name!r}" for name in self.records]
        named += [f"subject {name!r}" for name in self.subjects]
        about = f" #{self.of}" if self.what not in ("train", "jump", "read", "sign") else ""
        extra = " with quarantine" if self.quarantine else ""
        jump = f" {self.seconds:+g} s" if self.what == "jump" else ""
        return f"{self.slot}: {self.what}{about}{jump} {', '.join(named)}{extra}".rstrip()


@dataclass(frozen=True)
class Scenario:
    """One simulation: all that it depends on. failing: the share of jobs that fail."""

    seed: int
    kind: int
    queues: int
    failing: float
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]

    def lines(self) -> list[str]:
        """The scenario in lines."""
        head = f"population {self.kind}, {self.queues} queue(s), {self.failing:.0%} of jobs fail"
        acts = [f"  {act.at:7.3f} s  {act.line()}" for act in self.acts]
        faults = [
            f"  {each.slot} at its {each.sort or 'point'} {each.point}: {each.kind}"
            + (f" {each.seconds:g} s" if each.seconds else "")
            for each in self.faults
        ]
        return [head, *acts, *faults]


def scenario_of(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"scenario {seed}")
    kind, queues = rng.randrange(KINDS), rng.choice((1, 1, 2))
    failing = rng.choice((0.0, 0.0, 0.0, 0.2, 0.5))
    submits = submissions(rng, kind)
    others = [*decisions(rng, len(submits)), *onlookers(rng), *attacks(rng, kind, submits)]
    acts = sorted([*submits, *others], key=lambda act: act.at)
    clients = [act.slot for act in acts]
    faults = [fault(rng, queues, clients) for _ in range(rng.choice((0, 1, 1, 2, 3, 5)))]
    return Scenario(seed, kind, queues, failing, tuple(acts), tuple(faults))


def moment(rng: random.Random) -> float:
    """When something happens: often close to something else."""
    return round(rng.choice((0.5, 2.0, 8.0, 20.0)) * rng.random(), 3)


def submissions(rng: random.Random, kind: int) -> list[Act]:
    """Requests, often about the same people; some are delivered twice, in any order."""
    people = population(kind).people
    hot = [people[2 * i] for i in rng.sample(range(len(people) // 2), rng.choice((1, 2, 3)))]
    made = []
    for number in range(rng.choice((1, 1, 2, 2, 3, 4))):
        person = rng.choice(hot) if rng.random() < 0.8 else rng.choice(people)
        mine = [each.record for each in people if each.subject == person.subject]
        records = tuple(rng.sample(mine, rng.randint(1, 2)))
        subjects = (person.subject,) if rng.random() < 0.5 else ()
        if subjects and rng.random() < 0.7:
            records = ()
        if rng.random() < 0.04:
            records = (*records, UNKNOWN)
        quarantine = rng.random() < 0.25
        act = Act(moment(rng), f"client-{number}", "submit", records, subjects, number, quarantine)
        if rng.random() < 0.06 and UNKNOWN not in records:
            act = replace(act, what="unlearn")
        made.append(act)
        if rng.random() < 0.2 and act.what == "submit":
            made.append(replace(act, at=moment(rng), slot=f"again-{number}"))
    return made


def decisions(rng: random.Random, submits: int) -> list[Act]:
    """What people decide about requests."""
    found = []
    for what, chance in (("cancel", 0.2), ("refuse", 0.2), ("extend", 0.05), ("retry", 0.1)):
        if rng.random() < chance:
            found.append(Act(moment(rng), f"{what}-0", what, of=rng.randrange(submits)))
    return found


def onlookers(rng: random.Random) -> list[Act]:
    """Readers, a second signer, a training, clocks."""
    found = [Act(moment(rng), f"reader-{i}", "read") for i in range(rng.choice((0, 1, 2)))]
    if rng.random() < 0.3:
        found += [Act(moment(rng), f"signer-{i}", "sign") for i in range(2)]
    if rng.random() < 0.15:
        found.append(Act(rng.choice((2.0, 15.0, 30.0)) * rng.random(), "trainer-0", "train"))
    if rng.random() < 0.2:
        found.append(Act(moment(rng), "clock", "jump", seconds=rng.choice(JUMPS)))
    return found


def attacks(rng: random.Random, kind: int, submits: list[Act]) -> list[Act]:
    """What somebody does who can write where they should not."""
    people, found = population(kind).people, []
    person = rng.choice(people)
    if rng.random() < 0.05:
        entries = rng.choice((0.0, 0.0, 1.0))
        found.append(Act(25.0, "attacker-0", "forge", (person.record,), seconds=entries))
    if rng.random() < 0.05:
        found.append(Act(26.0, "attacker-1", "lift"))
        found.append(Act(28.0, "trainer-1", "train"))
    if rng.random() < 0.08:
        asked = {*submits[0].records, *submits[0].subjects}
        named = [each for each in people if asked & {each.record, each.subject}] or [person]
        found.append(Act(moment(rng), "writer-0", "trace", (), (named[0].subject,)))
        others = [each.subject for each in people if each.subject != named[0].subject]
        found.append(Act(moment(rng), "client-9", "submit", (), (rng.choice(others),), 9))
    return found


def fault(rng: random.Random, queues: int, clients: list[str]) -> Fault:
    """A fault at a point of somebody's: any, or one where much is at stake."""
    names, weights = zip(*KINDS_OF_FAULTS.items(), strict=True)
    [kind] = rng.choices(names, weights)
    sort = rng.choice(("", "", *SORTS)) if kind != "stale" else ""
    if kind == "stale":
        slot, point = rng.choice(["reader-0", "reader-1"]), rng.randint(1, 3)
    elif rng.random() < 0.2:
        slot, point = rng.choice(clients), rng.randint(1, 2 if sort else 12)
    else:
        slot = f"queue-{rng.randrange(queues)}"
        point = int(math.exp(rng.uniform(0, math.log(12 if sort else 700))))
    seconds = {"pause": (0.5, 5.0, 25.0), "cut": (5.0, 25.0, 45.0), "stale": (1.0, 10.0)}
    length = rng.choice(seconds[kind]) if kind in seconds else 0.0
    return Fault(slot, point, kind, length, sort)
