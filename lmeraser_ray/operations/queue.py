"""`queue serve` and `queue run`: work off a workspace's erasure requests. (`queue status` and
`queue watch` are `erasure/queue/overview.py` and `cli/live_table.py`.)

    serve    until told to stop; with the Ray engine in an actor that survives this process
    run      until no request is left, in this process

Only this process reads the signing key: no actor, worker or task of Ray ever has it. This process
signs what the actor has purged, so that requests stay PURGED while the actor lives and no `serve`
runs. One `serve` at a time is attached to an actor: a second one is refused while the first lives.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.queue.loop import keep_serving, queue_of, wait_for_turn
from lmeraser_ray.erasure.queue.overview import overview_of
from lmeraser_ray.erasure.requests.events import Event, Narrator, Pauses, Say, error_event
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.operations.hosted_queue import QueueHandle, spec_of
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.engines import cluster, is_by_work, queue_actor
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.database import Database

DRAINING = (
    "lmeraser: what is being trained is finished, published and signed; nothing new begins. "
    "Ctrl-C again stops at once."
)


@dataclass(frozen=True)
class Done:
    """What a queue did. closed: how many requests were closed meanwhile, by state; open: how many
    are left; stopped: whether it was told to stop."""

    closed: Mapping[State, int]
    open: int
    stopped: bool

    def as_json(self) -> dict[str, int]:
        """For `--json`."""
        return {
            **{str(state).lower(): self.closed.get(state, 0) for state in State if state.is_closed},
            "open": self.open,
        }


@dataclass
class Sidecar:
    """What the process of `serve` or `run` does beside the queue, wherever that runs: sign what is
    purged, and report what happens."""

    folder: WorkspaceFolder
    database: Database
    keys: KeyFolder
    narrator: Narrator
    say: Say
    failing: Pauses = field(default_factory=Pauses)

    def finish(self) -> None:
        """Sign and report. Errors: those of signing and of the database."""
        certify_pending(self.folder, self.database, self.keys)
        self.narrator.look()

    def do(self) -> None:
        """Sign and report. An error is reported too, and delays the next try."""
        if not self.failing.over:
            return
        try:
            self.finish()
            self.failing.end()
        except LmeraserError as error:
            self.say(error_event("error", error, self.failing.begin()))

    @contextmanager
    def beside(self, poll: float) -> Iterator[None]:
        """Sign and report every `poll` seconds in a thread while the context lasts, and once more
        at its end. Errors: of the last time, and defects."""
        ended, bugs = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not ended.wait(poll):
                    self.do()
            except BaseException as error:
                bugs.append(error)
                raise

        thread = threading.Thread(target=work, name="lmeraser-sidecar", daemon=True)
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
    """Work as the queue in this process until nothing is left, or until told to stop. No request
    waits for others to share its retrains.

    Errors: those of a round; `ExecutionError` while another queue lives.
    """
    session.folder.require_published()
    keys.require_ready()
    session = replace(session, overrides=(*session.overrides, ("queue.window", "0")))
    config = session.config()
    with session.database() as database, ExitStack() as stack:
        sidecar = Sidecar(session.folder, database, keys, Narrator(database, say), say)
        if overview_of(session).open and not is_by_work(config.execution):
            stack.enter_context(cluster(config.execution))
        asked = stack.enter_context(listening(stop))
        with sidecar.beside(config.queue.poll):
            work_off(session, asked, say)
    return Done(sidecar.narrator.closed, overview_of(session).open, asked.asked)


def work_off(session: Session, stop: Stop, say: Say) -> None:
    """Work round after round, until nothing is left or the end is asked for."""
    wait_for_turn(session, stop.wait)
    with queue_of(session, keys=None, say=say) as queue:
        queue.quarantine.look()
        queue.expire()
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
    """Work as the queue, in this process or in an actor, until told to stop (Ctrl-C, SIGTERM): then
    nothing new begins, and what is being trained is finished.

    trusted: accept a Ray cluster that does not ask for a token; learner: replaces the configured
    one in Ray's workers. Errors: `ExecutionError` while another queue, or another `serve`, lives;
    `ConfigError` on an open cluster; `KeyboardInterrupt` when told to stop a second time: then
    nothing is finished, and every request is still in the database.
    """
    session.folder.require_published()
    keys.require_ready()
    config = session.config()
    with session.database() as database:
        sidecar = Sidecar(session.folder, database, keys, Narrator(database, say), say)
        if config.execution.engine == "inline":
            with listening(stop) as asked, sidecar.beside(config.queue.poll):
                keep_serving(session, asked.wait, keys=None, say=say)
        else:
            spec = spec_of(session, trusted=trusted, learner=learner)
            with (
                cluster(config.execution),
                queue_actor(spec, database.dialect, say) as actor,
                listening(stop) as asked,
            ):
                follow(actor, asked, sidecar, config.queue.poll)
    return Done(sidecar.narrator.closed, overview_of(session).open, stopped=True)


def follow(actor: QueueHandle, stop: Stop, sidecar: Sidecar, poll: float) -> None:
    """Sign and report while the actor works, until the actor has stopped.

    Errors: those that ended the actor, a defect as `RuntimeError` with its traceback;
    `KeyboardInterrupt`: then the actor is ended.
    """
    away = False
    try:
        while True:
            status = actor.look(drain=stop.asked)
            if (status is None) != away:
                away = status is None
                sidecar.say(Event("actor-away" if away else "actor-back"))
            for event in status.events if status else ():
                sidecar.say(event)
            sidecar.do()
            if status and (status.ended or status.defect):
                actor.dismiss()
                if status.error:
                    raise status.error
                if status.defect:
                    raise RuntimeError(f"The queue's actor ended by a defect:\n{status.defect}")
                sidecar.finish()
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
    """Yield what asks for the end: the caller's `stop`, else signals."""
    if stop is not None:
        yield stop
    else:
        with Stop(DRAINING).listening() as made:
            yield made
