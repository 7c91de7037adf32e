"""`queue`: work off a workspace's erasure requests. How that goes (`status`, `watch`) is told by `erasure/overview.py` and `watching.py`.

    serve    until told to stop: on Ray in an actor that survives this process, else in this process; this process signs
    run      until nothing is left, in this process

The signing key is read by this process only: no actor, worker or task of Ray ever has it. What the actor froze is signed here, so that
while no `serve` runs (it was killed, the actor lives), requests wait as PURGED for the next one. One `serve` at a time attends an actor:
another one is refused while the first lives, and takes its place once it does not.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lmeraser_ray.erasure.certify import certify_pending
from lmeraser_ray.erasure.events import Event, Narrator, Say, told_of
from lmeraser_ray.erasure.overview import overview_of
from lmeraser_ray.erasure.queue import LONGEST_PAUSE, keep_serving, queue_of, wait_for_turn
from lmeraser_ray.erasure.request import CLOSED, State
from lmeraser_ray.erasure.signing import KeyFolder
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.learners.learner import Learner
from lmeraser_ray.session import Session
from lmeraser_ray.state.database import Database
from lmeraser_ray.stopping import Stop

if TYPE_CHECKING:
    from lmeraser_ray.distributed.attending import Attached

DRAINING = "lmeraser: what is being trained is finished, published and signed; nothing new begins. Ctrl-C again stops at once."


@dataclass(frozen=True)
class Done:
    """What a queue did. closed: requests that came to an end meanwhile, by how; open: those left to work on."""

    closed: Mapping[State, int]
    open: int

    def as_json(self) -> dict[str, int]:
        """For `--json`."""
        return {**{str(state).lower(): self.closed.get(state, 0) for state in State if state in CLOSED}, "open": self.open}


@dataclass
class Chores:
    """What the process of `serve` does whoever is the queue: sign what is frozen, tell what happens. After an error it waits a while."""

    database: Database
    keys: KeyFolder
    narrator: Narrator
    say: Say
    _wait: float = 0.0
    _not_before: float = 0.0

    def do(self) -> None:
        """Sign and tell."""
        if time.monotonic() < self._not_before:
            return
        try:
            certify_pending(self.database, self.keys)
            self.narrator.look()
            self._wait = 0.0
        except LmeraserError as error:
            self._wait = min(LONGEST_PAUSE, max(1.0, 2 * self._wait))
            self._not_before = time.monotonic() + self._wait
            self.say(Event("error", facts={"error": type(error).__name__, "message": told_of(error), "pause": self._wait}))


def run(session: Session, *, keys: KeyFolder, say: Say, stop: Stop | None = None) -> Done:
    """Be the queue in this process until nothing is left, or until told to stop; nothing waits for others to come together.

    Errors: those of a round; `ExecutionError` while another queue lives.
    """
    require_key(keys)
    session = replace(session, overrides=(*session.overrides, ("queue.window", "0")))
    with session.database() as database:
        narrator = Narrator(database, say)
        work = partial(work_off, session, keys=keys, say=say, narrator=narrator)
        if overview_of(session).open and session.config().execution.engine == "ray":
            from lmeraser_ray.distributed.attending import connected

            with connected(session.config().execution), listening(stop) as asked:
                work(asked)
        else:
            with listening(stop) as asked:
                work(asked)
        narrator.look()
    return Done(narrator.closed, overview_of(session).open)


def work_off(session: Session, stop: Stop, *, keys: KeyFolder, say: Say, narrator: Narrator) -> None:
    """Round after round, until nothing is left."""

    def pause(seconds: float) -> bool:
        narrator.look()
        return stop.wait(seconds)

    wait_for_turn(session, pause)
    with queue_of(session, keys=keys, say=say) as queue:
        queue.sign()
        while queue.busy() and not pause(0.0):
            queue.round(patient=True, stop=lambda: pause(0.0))


def serve(
    session: Session, *, keys: KeyFolder, say: Say, stop: Stop | None = None, trusted: bool = False, learner: Learner | None = None
) -> Done:
    """Be the queue, or have an actor be it, until told to stop (Ctrl-C, SIGTERM): then nothing new begins, and what is being trained is
    finished.

    trusted: accept a Ray cluster that asks nobody for a token; learner: in the place of the configured one, in Ray's workers.
    Errors: `ExecutionError` while another queue, or another `serve`, lives; `ConfigError` on an open cluster; `KeyboardInterrupt` when told
    to stop a second time: then nothing is finished, and everything is still in the database.
    """
    require_key(keys)
    session.folder.require_published()
    with session.database() as database:
        narrator = Narrator(database, say)
        if session.config().execution.engine == "inline":
            with listening(stop) as asked:
                keep_serving(session, pause_of(asked, narrator), keys=keys, say=say)
        else:
            from lmeraser_ray.distributed.attending import attached, connected, spec_of

            spec = spec_of(session, trusted=trusted, learner=learner)
            with connected(session.config().execution), attached(spec, database.dialect, say) as actor, listening(stop) as asked:
                attend(actor, asked, Chores(database, keys, narrator, say), session.config().queue.poll)
        narrator.look()
    return Done(narrator.closed, overview_of(session).open)


def pause_of(stop: Stop, narrator: Narrator) -> Callable[[float], bool]:
    """What the queue in this process waits with: it tells what happened first."""

    def pause(seconds: float) -> bool:
        narrator.look()
        return stop.wait(seconds)

    return pause


def attend(actor: "Attached", stop: Stop, chores: Chores, poll: float) -> None:
    """Sign and tell while the actor works, until it has stopped. Errors: those that ended it; `KeyboardInterrupt`: then it is stopped."""
    away = False
    try:
        while True:
            standing = actor.look(drain=stop.asked)
            if (standing is None) != away:
                away = standing is None
                chores.say(Event("actor-away" if away else "actor-back"))
            for event in standing.events if standing else ():
                chores.say(event)
            chores.do()
            if standing and standing.ended:
                actor.dismiss()
                if standing.error:
                    raise standing.error
                return
            if stop.asked:
                time.sleep(poll)
            else:
                stop.wait(poll)
    except KeyboardInterrupt:
        actor.dismiss()
        raise


@contextmanager
def listening(stop: Stop | None) -> Iterator[Stop]:
    """What asks for the end: what the caller has, else signals."""
    if stop is not None:
        yield stop
    else:
        with Stop(DRAINING).listening() as made:
            yield made


def require_key(keys: KeyFolder) -> None:
    """Errors: at the beginning, where a named folder has no key to sign with. In the default place it is made when something is signed."""
    if not keys.default:
        keys.current()


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("queue")
