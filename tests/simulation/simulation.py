"""One simulation: a scenario in a world, until everything is done or something is broken."""

import gc
import traceback
from dataclasses import dataclass

from tests.simulation.acts import Cast
from tests.simulation.invariants import Watch
from tests.simulation.oracle import trained
from tests.simulation.population import population
from tests.simulation.scenario import Scenario
from tests.simulation.world import World, installed

AGAIN = 9.0
"""Seconds after which a queue that ended is started again."""
CALM = 30.0
"""Seconds after the last act, when faults end."""
LIMIT = 400.0
"""Seconds after the end of the faults in which every request must be done: leases run out, pauses
after errors are at most a minute."""


@dataclass(frozen=True)
class Ending:
    """How a simulation ended. broken: what does not hold; story: what happened, in lines."""

    broken: str | None
    story: tuple[str, ...]
    seconds: float
    states: dict[str, int]


def simulate(scenario: Scenario) -> Ending:
    """Run a scenario."""
    image = trained(scenario.kind)
    gc.disable()  # of this process: whoever simulates many collects in between
    world = World(
        population(scenario.kind), image, scenario.seed, list(scenario.faults),
        failing=scenario.failing,
    )  # fmt: skip
    kinds = {fault.kind for fault in scenario.faults}
    world.may_fail = bool(scenario.failing or kinds & {"error", "full", "cut", "stale"})
    with installed(world):
        watch = Watch(world)
        world.watch, world.object = watch, watch.object
        try:
            run(world, watch, scenario)
        finally:
            gc.enable()
            world.machine.end()
            world.watch = lambda _: None
    story = tuple(f"{when:8.3f} s  {text}" for when, text in world.machine.told)
    states: dict[str, int] = {}
    for row in watch.rows.values():
        states[row.state] = states.get(row.state, 0) + 1
    return Ending(watch.broken, story, world.machine.now, states)


def run(world: World, watch: Watch, scenario: Scenario) -> None:
    """Let everything happen."""
    machine, cast = world.machine, Cast(world, watch)
    watch("the beginning")
    for number in range(scenario.queues):
        keep(world, f"queue-{number}", cast)
    for act in scenario.acts:
        machine.at(act.at, lambda act=act: machine.start(act.slot, cast.command(act)))  # type: ignore[misc]
    last = max((act.at for act in scenario.acts), default=0.0)
    machine.at(last + CALM, lambda: calm(world, watch, cast))
    while machine.step():
        watch("a step")
        for slot, error in machine.defects:
            lines = traceback.format_exception(error)
            watch.broken = watch.broken or f"{slot} ended by a defect: {''.join(lines)}"
        if watch.broken or machine.now > last + CALM + LIMIT:
            break
        done = not watch.open() and quiet(world, scenario)
        if done and machine.now > last + (CALM if watch.traced or watch.forged else 0.0):
            break
    if not watch.broken:
        watch.look_at_end()


def quiet(world: World, scenario: Scenario) -> bool:
    """Whether all acts have ended."""
    return not world.machine.busy({act.slot for act in scenario.acts})


def keep(world: World, slot: str, cast: Cast) -> None:
    """Keep a queue running, as a service manager does."""
    machine = world.machine
    process = machine.start(slot, cast.serve)

    def look() -> None:
        nonlocal process
        if process.ended:
            machine.tell(f"{slot} is started again")
            process = machine.start(slot, cast.serve)
        machine.at(machine.now + AGAIN, look)

    machine.at(AGAIN, look)


def calm(world: World, watch: Watch, cast: Cast) -> None:
    """No fault strikes any more, and an operator retries what has failed."""
    machine = world.machine
    machine.calm = True
    failed = [name for name, row in watch.rows.items() if row.state == "FAILED"]
    if failed:
        machine.start("operator", lambda: cast.retry_all(failed))
    machine.at(machine.now + 20.0, lambda: calm(world, watch, cast))
