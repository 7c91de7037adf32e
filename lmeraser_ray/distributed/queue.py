"""The queue as a named, detached actor: it outlives the process of `lmeraser queue serve`, and Ray starts it again when it dies.

    serve (signs, tells) ──attend──► actor: the queue in a thread ──► tasks (retrains) ──progress──► actor

Nothing true is in the actor: each start claims a new epoch and goes on with what the database and the store say. No signing key is ever in
it, or in a task. A queue that another one has replaced writes nothing more, whatever Ray believes of it.
"""

import ipaddress
import os
import platform
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lmeraser_ray.config import Config, ExecutionConfig
from lmeraser_ray.distributed.cluster import connect, disconnect
from lmeraser_ray.distributed.engine import RayEngine
from lmeraser_ray.distributed.metrics import Meters
from lmeraser_ray.erasure.events import Event, Say
from lmeraser_ray.erasure.queue import keep_serving
from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError
from lmeraser_ray.learners.learner import Learner
from lmeraser_ray.session import Session
from lmeraser_ray.state.database import VARIABLE, Dialect
from lmeraser_ray.state.manifest import BackboneCard
from lmeraser_ray.state.store import Store

NAMESPACE = "lmeraser"
ATTENDED_S = 5.0
"""Seconds after which a `serve` that was not heard of counts as gone."""
ANSWER_S, START_S, GONE_S = 5.0, 180.0, 20.0
"""Seconds to wait for an answer of a live actor, for its first one, and for its end."""
REPORT_S = 0.5
"""Seconds between two reports of a task."""
KEPT_EVENTS = 10_000
"""Events that wait for a `serve` at most; older ones are forgotten, as the ledger has all that matters."""


@dataclass(frozen=True)
class QueueSpec:
    """What the actor must know. overrides: of the workspace's configuration (the database's URL may hold a password: not shown);
    token: refuse a cluster that asks nobody for one; learner: in the place of the configured one."""

    root: Path
    workspace: str
    overrides: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: bool = True
    learner: Learner | None = None

    @property
    def name(self) -> str:
        """The actor's."""
        return f"lmeraser-queue-{self.workspace}"


@dataclass(frozen=True)
class Standing:
    """What the actor says of itself. spec: what it was made from; attended: whether whoever asks is the one `serve` that attends it; ended:
    it works no more, because of an error or because it was told to stop; events: since the last time."""

    spec: QueueSpec
    pid: int
    attended: bool
    ended: bool
    error: LmeraserError | None
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
        self.meters = Meters(self.session)
        self._engine: RayEngine | None = None
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._stop, self._ended = threading.Event(), threading.Event()
        self._error: LmeraserError | None = None
        self._bug: BaseException | None = None
        self._attendant, self._attended_at = "", -ATTENDED_S
        for work in (self._live, self._measure):
            threading.Thread(target=work, daemon=True).start()

    def engine(self, store: Store, config: Config, card: BackboneCard) -> RayEngine:
        """The engine of a round, whose tasks report here."""
        self._engine = RayEngine(store, config, card, learner=self.spec.learner, report=Reporter(self.me))
        self.meters.count(self._engine)
        return self._engine

    def _live(self) -> None:
        """Be the queue until told to stop."""
        try:
            self._work()
        except LmeraserError as error:
            self._error = error
        except BaseException as error:
            self._bug = error
            raise
        finally:
            self._ended.set()

    def _work(self) -> None:
        if self.spec.token and os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            raise ConfigError(
                "This Ray cluster asks nobody for a token: whoever reaches its ports can run code in it, read the pictures and stop "
                "erasures. Start it with RAY_AUTH_MODE=token, or, in a network where you trust everyone, give --trusted_network."
            )
        name = f"{self.family} (process {os.getpid()} on {platform.node()})"
        keep_serving(self.session, self._stop.wait, keys=None, say=self._events.append, name=name, heir=self.family)

    def _measure(self) -> None:
        """Keep the metrics up to date."""
        try:
            self.meters.run(self._ended)
        except LmeraserError:
            return  # the queue's own thread comes to it too, and tells
        except BaseException as error:
            self._bug = error
            raise

    async def attend(self, who: str, *, drain: bool) -> Standing:
        """How things are, for the one `serve` that attends. drain: stop once what is being trained is finished. Errors: a bug's."""
        if self._bug is not None:
            raise self._bug
        now = time.monotonic()
        attended = who == self._attendant or now - self._attended_at >= ATTENDED_S
        ended, events = self._ended.is_set(), []
        if attended:
            self._attendant, self._attended_at = who, now
            if drain:
                self._stop.set()
            while self._events:
                events.append(self._events.popleft())
        return Standing(self.spec, os.getpid(), attended, ended, self._error, tuple(events))

    async def progress(self, scratch: str, passes: int) -> None:
        """What a task reports."""
        if self._engine is not None:
            self._engine.hear(scratch, passes)


class Attached:
    """The actor as the one `serve` that attends it sees it."""

    def __init__(self, spec: QueueSpec, dialect: Dialect) -> None:
        """dialect: of the request database. A SQLite file is on this machine, and so must the actor be."""
        self.spec, self.who = spec, f"process {os.getpid()} on {platform.node()}, {time.monotonic_ns()}"
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._options = {
            "name": spec.name,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "num_cpus": 0,
            "scheduling_strategy": here if dialect == "sqlite" else "DEFAULT",
        }
        self._make()

    def _make(self) -> None:
        """Find the actor, or make it where there is none."""
        self._found, self._lived = self._exists(), False
        self._actor: Any = ray.remote(QueueActor).options(**self._options).remote(self.spec)

    def _exists(self) -> bool:
        try:
            ray.get_actor(self.spec.name, namespace=NAMESPACE)
        except ValueError:
            return False
        return True

    def begin(self) -> Standing:
        """Be the one that attends.

        Errors: `ExecutionError` where another `serve` lives, where the actor works on another folder, or where it does not come to life.
        """
        begun = time.monotonic()
        while True:
            standing = self.look(drain=False, patience=START_S)
            waited = time.monotonic() - begun
            if standing is None or not standing.attended:
                if waited > (START_S if standing is None else ATTENDED_S + 1):
                    raise ExecutionError(
                        "The queue's actor does not answer: look at the cluster (`ray status`)."
                        if standing is None
                        else "Another `lmeraser queue serve` attends this workspace's queue: stop it first."
                    )
                time.sleep(0.2)
            elif standing.spec.root != self.spec.root:
                raise ExecutionError(
                    f"The actor {self.spec.name} works on {standing.spec.root}, of which {self.spec.root} is a copy: stop that one first."
                )
            elif standing.ended and self._found:  # of an earlier `serve`, which was killed before it could dismiss it
                self.dismiss()
                self._make()
            else:
                return standing

    def look(self, *, drain: bool, patience: float = ANSWER_S) -> Standing | None:
        """How things are; None while Ray starts the actor again. Errors: `ExecutionError` where it cannot live; a bug as Ray tells it."""
        try:
            standing: Standing = ray.get(self._actor.attend.remote(self.who, drain=drain), timeout=patience)
        except (ray.exceptions.ActorUnavailableError, ray.exceptions.GetTimeoutError):
            return None
        except ray.exceptions.ActorDiedError as error:
            if not self._lived:
                raise ExecutionError(f"The queue's actor could not be started: {error}") from error
            self._make()
            return None
        self._lived = True
        return standing

    def dismiss(self) -> None:
        """End the actor, whatever it does, and wait until its name is free."""
        with suppress(ray.exceptions.RayError):  # it is gone already
            ray.kill(self._actor)
        end = time.monotonic() + GONE_S
        while self._exists():
            if time.monotonic() > end:
                raise ExecutionError(f"The actor {self.spec.name} cannot be ended: look at the cluster (`ray list actors`).")
            time.sleep(0.05)


@contextmanager
def connected(execution: ExecutionConfig) -> Iterator[None]:
    """Be connected to the cluster that is configured; one that was started for it ends."""
    ours = connect(execution)
    try:
        yield
    finally:
        if ours:
            disconnect()


@contextmanager
def attached(spec: QueueSpec, dialect: Dialect, say: Say) -> Iterator[Attached]:
    """Attend the queue's actor, which is made where there is none. What it does goes on when this ends. Errors: as `Attached.begin`."""
    spec = replace(spec, token=spec.token and not loopback(ray.get_runtime_context().gcs_address))
    actor = Attached(spec, dialect)
    standing = actor.begin()
    facts: dict[str, object] = {"actor": spec.name, "process": standing.pid}
    if standing.spec.overrides != spec.overrides:
        facts["settings"] = "those it was started with"
    say(Event("attending", facts=facts))
    yield actor


def spec_of(session: Session, *, trusted: bool, learner: Learner | None) -> QueueSpec:
    """What the actor of a session must know, wherever it runs: this process's environment and working directory are not its own."""
    overrides = dict(session.overrides)
    url = session.config().queue.database or os.environ.get(VARIABLE)
    if url:
        overrides["queue.database"] = url
    weights = Path(overrides.get("backbone.weights", ""))
    if weights.is_file():
        overrides["backbone.weights"] = str(weights.resolve())
    root = session.root.resolve()
    return QueueSpec(root, session.names().workspace_id, tuple(overrides.items()), not trusted, learner)


def loopback(address: str) -> bool:
    """Whether only this machine reaches an address `host:port`."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
