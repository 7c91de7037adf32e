"""The smallest scenario that breaks the same thing: acts and faults are dropped one by one, as long
as the failure stays."""

import re
from collections.abc import Iterator
from dataclasses import replace

from tests.simulation.scenario import Scenario
from tests.simulation.simulation import Ending, simulate

NAME = re.compile(r"er-\d{8}-[0-9a-f]{16}|[0-9a-f]{12,}|\d+|\".*\"")


def kind_of(broken: str | None) -> str | None:
    """What is broken, without the names of requests and files."""
    return None if broken is None else NAME.sub("…", broken.strip().splitlines()[-1])[:60]


def smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios that lack one thing."""
    if scenario.failing:
        yield replace(scenario, failing=0.0)
    if scenario.queues > 1:
        yield replace(scenario, queues=1)
    for at in range(len(scenario.faults)):
        yield replace(scenario, faults=scenario.faults[:at] + scenario.faults[at + 1 :])
    for at, act in enumerate(scenario.acts):
        before, after = scenario.acts[:at], scenario.acts[at + 1 :]
        yield replace(scenario, acts=before + after)
        if act.quarantine:
            yield replace(scenario, acts=(*before, replace(act, quarantine=False), *after))


def shrink(scenario: Scenario, ending: Ending) -> tuple[Scenario, Ending]:
    """Returns the smallest scenario that was found, and how it ends."""
    wanted, found = kind_of(ending.broken), True
    while found:
        found = False
        for candidate in smaller(scenario):
            ended = simulate(candidate)
            if kind_of(ended.broken) == wanted:
                scenario, ending, found = candidate, ended, True
                break
    return scenario, ending
