"""The queue as a named, detached actor: it outlives the process of `lmeraser queue serve`, and Ray
starts it again when it dies.

    serve (signs, reports) ──report──► actor: the queue in a thread ──► tasks ──progress──► actor

The actor holds no state that matters: each start claims a new epoch and continues from the database
and the store. No signing key is ever in the actor or in a task. A queue that another one has
replaced writes nothing more, whatever Ray believes of the old actor.
"""

import os
import platform
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from typing import Any

import ray

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.distributed.metrics import Meters
from lmeraser_ray.erasure.queue.loop import keep_serving
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.errors import ConfigError, LmeraserError
from lmeraser_ray.operations.hosted_queue import QueueSpec, QueueStatus
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.store import Store

ATTACHED_S = 5.0
"""Seconds after which a silent `serve` counts as gone."""
REPORT_S = 0.5
"""Seconds between two reports of a task."""
KEPT_EVENTS = 10_000
"""Events that wait for a `serve` at most. Older events are dropped: the ledger has all that
matters."""


@dataclass
class Reporter:
    """Reports to the actor how far a task is, every half second at most. Called in the workers."""

    actor: Any
    _next: float = 0.0

    def __call__(self, scratch: str, passes: int) -> None:
        """scratch: the name of the task's scratch folder; passes: its record passes so far."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_S
            self.actor.progress.remote(scratch, passes)


class QueueActor:
    """Hosts the queue of one workspace in a thread; its methods answer while the queue works."""

    def __init__(self, spec: QueueSpec) -> None:
        """Begin to work at once: a start by Ray, after a crash, is like any other."""
        os.environ["RAY_WARN_BLOCKING_GET_INSIDE_ASYNC"] = "0"  # only the queue's thread blocks
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
        self._attached_serve, self._heard_at = "", -ATTACHED_S
        for work in (self._live, self._measure):
            threading.Thread(target=work, daemon=True).start()

    def engine(self, store: Store, config: Config, card: BackboneCard) -> RayEngine:
        """Make the engine of a round, whose tasks report to this actor."""
        self._engine = RayEngine(
            store, config, card, learner=self.spec.learner, report=Reporter(self.me)
        )
        self.meters.count(self._engine)
        return self._engine

    def _live(self) -> None:
        """Work as the queue until told to stop, and keep the error that ended it."""
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
            return  # the queue's own thread meets it too, and reports it
        except BaseException:
            self._defect = traceback.format_exc()
            raise

    async def report(self, serve: str, root: Location, *, drain: bool) -> QueueStatus:
        """Return the status, and attach the `serve` that asks if no other one is attached.

        serve: names the asking process; root: of its workspace; drain: stop once what is being
        trained is finished.
        """
        now = time.monotonic()
        attached = root == self.spec.root and (
            serve == self._attached_serve or now - self._heard_at >= ATTACHED_S
        )
        ended, events = self._ended.is_set(), []
        if attached:
            self._attached_serve, self._heard_at = serve, now
            if drain:
                self._stop.set()
            while self._events:
                events.append(self._events.popleft())
        return QueueStatus(
            self.spec, os.getpid(), attached, ended, self._error, self._defect, tuple(events)
        )

    async def progress(self, scratch: str, passes: int) -> None:
        """Take a task's report: its scratch folder's name and its record passes so far."""
        if self._engine is not None:
            self._engine.hear(scratch, passes)
