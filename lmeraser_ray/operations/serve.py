"""`queue`: work off a workspace's erasure requests. `status` and `watch` are
`erasure/queue/overview.py` and `cli/live_table.py`.

    serve    until told to stop: on Ray in an actor that survives this process, else in this process; this process signs
    run      until nothing is left, in this process

The signing key is read by this process only: no actor, worker or task of Ray ever has it. What the
actor froze is signed here, so that while no `serve` runs (it was killed, the actor lives), requests
wait as PURGED for the next one. One `serve` at a time attends an actor: another one is refused
while the first lives, and takes its place once it does not.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.queue.loop import LONGEST_PAUSE, keep_serving, queue_of, wait_for_turn
from lmeraser_ray.erasure.queue.overview import overview_of
from lmeraser_ray.erasure.requests.events import Event, Narrator, Say, redacted_message
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database

if TYPE_CHECKING:
    from lmeraser_ray.distributed.actor_handle import ActorHandle

DRAINING = (
    "lmeraser: what is being trained is finished, published and signed; nothing new begins. "
    "Ctrl-C again stops at once."
)


@dataclass(frozen=True)
class Done:
    """What a queue did. closed: requests that came to an end meanwhile, by how; open: those left to
    work on."""

    closed: Mapping[State, int]
    open: int

    def as_json(self) -> dict[str, int]:
        """For `--json`."""
        return {
            **{str(state).lower(): self.closed.get(state, 0) for state in State if state.is_closed},
            "open": self.open,
        }


@dataclass
class Sidecar:
    """What the process of `serve` or `run` does beside the queue, whoever that is: sign what is
    frozen, tell what happens."""

    database: Database
    keys: KeyFolder
    narrator: Narrator
    say: Say
    _wait: float = 0.0
    _not_before: float = 0.0

    def finish(self) -> None:
        """Sign and tell. Errors: those of signing and of the database."""
        certify_pending(self.database, self.keys)
        self.narrator.look()

    def do(self) -> None:
        """Sign and tell; after an error, which is told too, not before a while has passed."""
        if time.monotonic() < self._not_before:
            return
        try:
            self.finish()
            self._wait = 0.0
        except LmeraserError as error:
            self._wait = min(LONGEST_PAUSE, max(1.0, 2 * self._wait))
            self._not_before = time.monotonic() + self._wait
            self.say(
                Event(
                    "error",
                    facts={
                        "error": type(error).__name__,
                        "message": redacted_message(error),
                        "pause": self._wait,
                    },
                )
            )

    @contextmanager
    def beside(self, poll: float) -> Iterator[None]:
        """Do it all the time, in a thread, while this one trains; and to the end then."""
        ended, bugs = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not ended.wait(poll):
                    self.do()
            except BaseException as error:
                bugs.append(error)
                raise

        thread = threading.Thread(target=work, name="lmeraser-chores", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        if bugs:
            raise bugs[0]
        self.finish()


def run(session: Session, *, keys: KeyFolder, say: Say, stop: Stop | None = None) -> Done:
    """Be the queue in this process until nothing is left, or until told to stop; nothing waits for
    others to come together.

    Errors: those of a round; `ExecutionError` while another queue lives.
    """
    require_key(keys)
    session = replace(session, overrides=(*session.overrides, ("queue.window", "0")))
    config = session.config()
    with session.database() as database, ExitStack() as stack:
        chores = Sidecar(database, keys, Narrator(database, say), say)
        if overview_of(session).open and config.execution.engine == "ray":
            from lmeraser_ray.distributed.actor_handle import connected

            stack.enter_context(connected(config.execution))
        asked = stack.enter_context(listening(stop))
        with chores.beside(config.queue.poll):
            work_off(session, asked, say)
    return Done(chores.narrator.closed, overview_of(session).open)


def work_off(session: Session, stop: Stop, say: Say) -> None:
    """Round after round, until nothing is left."""
    wait_for_turn(session, stop.wait)
    with queue_of(session, keys=None, say=say) as queue:
        while queue.busy() and not stop.asked:
            queue.round(patient=True, stop=lambda: stop.asked)


def serve(
    session: Session,
    *,
    keys: KeyFolder,
    say: Say,
    stop: Stop | None = None,
    trusted: bool = False,
    learner: Learner | None = None,
) -> Done:
    """Be the queue, or have an actor be it, until told to stop (Ctrl-C, SIGTERM): then nothing new
    begins, and what is being trained is finished.

    trusted: accept a Ray cluster that asks nobody for a token; learner: in the place of the
    configured one, in Ray's workers. Errors: `ExecutionError` while another queue, or another
    `serve`, lives; `ConfigError` on an open cluster; `KeyboardInterrupt` when told to stop a second
    time: then nothing is finished, and everything is still in the database.
    """
    require_key(keys)
    session.folder.require_published()
    config = session.config()
    with session.database() as database:
        chores = Sidecar(database, keys, Narrator(database, say), say)
        if config.execution.engine == "inline":
            with listening(stop) as asked, chores.beside(config.queue.poll):
                keep_serving(session, asked.wait, keys=None, say=say)
        else:
            from lmeraser_ray.distributed.actor_handle import attached, connected, spec_of

            spec = spec_of(session, trusted=trusted, learner=learner)
            with (
                connected(config.execution),
                attached(spec, database.dialect, say) as actor,
                listening(stop) as asked,
            ):
                attend(actor, asked, chores, config.queue.poll)
    return Done(chores.narrator.closed, overview_of(session).open)


def attend(actor: "ActorHandle", stop: Stop, chores: Sidecar, poll: float) -> None:
    """Sign and tell while the actor works, until it has stopped.

    Errors: those that ended it, a defect as `RuntimeError` with its traceback; `KeyboardInterrupt`:
    then it is stopped.
    """
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
            if standing and (standing.ended or standing.defect):
                actor.dismiss()
                if standing.error:
                    raise standing.error
                if standing.defect:
                    raise RuntimeError(f"The queue's actor ended by a defect:\n{standing.defect}")
                chores.finish()
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
    """Errors: at the beginning, where a named folder has no key to sign with. In the default place
    it is made when something is signed."""
    if not keys.default:
        keys.current()
