"""The queue as a named, detached actor: it outlives the process of `lmeraser queue serve`, and Ray
starts it again when it dies.

    serve (signs, tells) ──attend──► actor: the queue in a thread ──► tasks (retrains) ──progress──► actor

Nothing true is in the actor: each start claims a new epoch and goes on with what the database and
the store say. No signing key is ever in it, or in a task. A queue that another one has replaced
writes nothing more, whatever Ray believes of it.
"""

import os
import platform
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import ray

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.distributed.metrics import Meters
from lmeraser_ray.erasure.queue.loop import keep_serving
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.errors import ConfigError, LmeraserError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import Store

ATTENDED_S = 5.0
"""Seconds after which a `serve` that was not heard of counts as gone."""
REPORT_S = 0.5
"""Seconds between two reports of a task."""
KEPT_EVENTS = 10_000
"""Events that wait for a `serve` at most; older ones are forgotten, as the ledger has all that
matters."""


@dataclass(frozen=True)
class QueueSpec:
    """What the actor must know. overrides: of the workspace's configuration (the database's URL may
    hold a password: not shown); token: refuse a cluster that asks nobody for one; learner: in the
    place of the configured one."""

    root: Location
    workspace: str
    overrides: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: bool = True
    learner: Learner | None = None

    @property
    def name(self) -> str:
        """The actor's."""
        return f"lmeraser-queue-{self.workspace}"


@dataclass(frozen=True)
class QueueStatus:
    """What the actor says of itself. spec: what it was made from; attended: whether whoever asks is
    the one `serve` that attends it; ended: it works no more, because of an error, of a defect (its
    traceback), or because it was told to stop; events: since the last time."""

    spec: QueueSpec
    pid: int
    attended: bool
    ended: bool
    error: LmeraserError | None
    defect: str | None
    events: tuple[Event, ...]


@dataclass
class Reporter:
    """Tells the actor how far a task is, twice a second at most. Called in the workers."""

    actor: Any
    _next: float = 0.0

    def __call__(self, scratch: str, passes: int) -> None:
        """A task's scratch folder, by name, and its record passes so far."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_S
            self.actor.progress.remote(scratch, passes)


class QueueActor:
    """Hosts the queue of one workspace in a thread; its methods answer while that works."""

    def __init__(self, spec: QueueSpec) -> None:
        """Begins to work at once: a start by Ray, after a crash, is like any other."""
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"  # it is done in the queue's thread
        context = ray.get_runtime_context()
        self.me, self.family = context.current_actor, f"Ray actor {context.get_actor_id()[:16]}"
        self.spec = spec
        self.session = Session(spec.root, make_engine=self.engine, overrides=spec.overrides)
        self.meters = Meters(self.session, spec.workspace)
        self._engine: RayEngine | None = None
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._stop, self._ended = threading.Event(), threading.Event()
        self._error: LmeraserError | None = None
        self._defect: str | None = None
        self._attendant, self._attended_at = "", -ATTENDED_S
        for work in (self._live, self._measure):
            threading.Thread(target=work, daemon=True).start()

    def engine(self, store: Store, config: Config, card: BackboneCard) -> RayEngine:
        """The engine of a round, whose tasks report here."""
        self._engine = RayEngine(
            store, config, card, learner=self.spec.learner, report=Reporter(self.me)
        )
        self.meters.count(self._engine)
        return self._engine

    def _live(self) -> None:
        """Be the queue until told to stop."""
        try:
            self._work()
        except LmeraserError as error:
            self._error = error
        except BaseException:
            self._defect = traceback.format_exc()
            raise
        finally:
            self._ended.set()

    def _work(self) -> None:
        if self.spec.token and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            raise ConfigError(
                "This Ray cluster asks nobody for a token: whoever reaches its ports can run "
                "code in it, read the pictures and stop erasures. Start it with "
                "RAY_AUTH_MODE=token, or, in a network where you trust everyone, give "
                "--trusted_network."
            )
        name = f"{self.family} (process {os.getpid()} on {platform.node()})"
        keep_serving(
            self.session,
            self._stop.wait,
            keys=None,
            say=self._events.append,
            name=name,
            takeover_prefix=self.family,
        )

    def _measure(self) -> None:
        """Keep the metrics up to date."""
        try:
            self.meters.run(self._ended)
        except LmeraserError:
            return  # the queue's own thread comes to it too, and tells
        except BaseException:
            self._defect = traceback.format_exc()
            raise

    async def attend(self, who: str, root: Location, *, drain: bool) -> QueueStatus:
        """How things are, for the one `serve` that attends. root: of its workspace; drain: stop
        once what is being trained is finished."""
        now = time.monotonic()
        attended = root == self.spec.root and (
            who == self._attendant or now - self._attended_at >= ATTENDED_S
        )
        ended, events = self._ended.is_set(), []
        if attended:
            self._attendant, self._attended_at = who, now
            if drain:
                self._stop.set()
            while self._events:
                events.append(self._events.popleft())
        return QueueStatus(
            self.spec, os.getpid(), attended, ended, self._error, self._defect, tuple(events)
        )

    async def progress(self, scratch: str, passes: int) -> None:
        """What a task reports."""
        if self._engine is not None:
            self._engine.hear(scratch, passes)
