"""The queue's actor as `lmeraser queue serve` sees it: found or made, attended, dismissed.

    connect → find the actor or make it → be the one that attends it → (look, look, look) → dismiss it, or leave it to work on

Invariant: at most one `serve` attends an actor. Whoever leaves without a word is replaced after a
few seconds.
"""

import ipaddress
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import ray.exceptions

from lmeraser_ray.config import ExecutionConfig
from lmeraser_ray.distributed.cluster import connect, disconnect, here
from lmeraser_ray.distributed.queue_actor import ATTENDED_S, QueueActor, QueueSpec, QueueStatus
from lmeraser_ray.erasure.requests.events import Event, Say
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import VARIABLE, Dialect

NAMESPACE = "lmeraser"
ANSWER_S, START_S, GONE_S = 5.0, 180.0, 20.0
"""Seconds to wait for an answer of a live actor, for its first one, and for its end."""


class ActorHandle:
    """The actor as the one `serve` that attends it sees it."""

    def __init__(self, spec: QueueSpec, dialect: Dialect) -> None:
        """dialect: of the request database. A SQLite file is on this machine, and so must the actor
        be."""
        self.spec, self.who = (
            spec,
            f"process {os.getpid()} on {platform.node()}, {time.monotonic_ns()}",
        )
        self._options = {
            "name": spec.name,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "num_cpus": 0,
            "scheduling_strategy": here() if dialect == "sqlite" else "DEFAULT",
        }
        self._attending = False
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

    def begin(self) -> QueueStatus:
        """Be the one that attends.

        Errors: `ExecutionError` where another `serve` lives, where the actor works on another
        folder, or where it does not come to life.
        """
        begun = time.monotonic()
        while True:
            standing = self.look(drain=False, patience=START_S)
            waited = time.monotonic() - begun
            if standing is None:
                if waited > START_S:
                    raise ExecutionError(
                        "The queue's actor does not answer: look at the cluster (`ray status`)."
                    )
            elif standing.spec.root != self.spec.root:
                raise ExecutionError(
                    f"The actor {self.spec.name} works on {standing.spec.root}, of which "
                    f"{self.spec.root} is a copy: stop that one first."
                )
            elif not standing.attended:
                if waited > ATTENDED_S + 1:
                    raise ExecutionError(
                        "Another `lmeraser queue serve` attends this workspace's queue: stop it "
                        "first."
                    )
                time.sleep(0.2)
            elif (
                standing.ended or standing.defect
            ) and self._found:  # of an earlier `serve`, which was killed before it could dismiss it
                self.dismiss()
                self._make()
            else:
                self._attending = True
                return standing

    def look(self, *, drain: bool, patience: float = ANSWER_S) -> QueueStatus | None:
        """How things are; None while Ray starts the actor again.

        Errors: `ExecutionError` where it cannot live, or another `serve` attends it now, since this
        one was silent.
        """
        try:
            standing: QueueStatus = ray.get(
                self._actor.attend.remote(self.who, self.spec.root, drain=drain), timeout=patience
            )
        except (ray.exceptions.ActorUnavailableError, ray.exceptions.GetTimeoutError):
            return None
        except ray.exceptions.ActorDiedError as error:
            if not self._lived:
                raise ExecutionError(f"The queue's actor could not be started: {error}") from error
            self._make()
            return None
        if self._attending and not standing.attended:
            raise ExecutionError(
                "Another `lmeraser queue serve` attends this workspace's queue now: this one ends."
            )
        self._lived = True
        return standing

    def abandon(self) -> None:
        """End the actor if it was made here and nobody has attended it yet."""
        if not self._found:
            self.dismiss()

    def dismiss(self) -> None:
        """End the actor, whatever it does, and wait until its name is free."""
        with suppress(ray.exceptions.RayError):  # it is gone already
            ray.kill(self._actor)
        end = time.monotonic() + GONE_S
        while self._exists():
            if time.monotonic() > end:
                raise ExecutionError(
                    f"The actor {self.spec.name} cannot be ended: look at the cluster (`ray list "
                    "actors`)."
                )
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
def attached(spec: QueueSpec, dialect: Dialect, say: Say) -> Iterator[ActorHandle]:
    """Attend the queue's actor, which is made where there is none. What it does goes on when this
    ends. Errors: as `ActorHandle.begin`."""
    spec = replace(spec, token=spec.token and not loopback(ray.get_runtime_context().gcs_address))
    actor = ActorHandle(spec, dialect)
    try:
        standing = actor.begin()
    except BaseException:
        actor.abandon()
        raise
    facts: dict[str, object] = {"actor": spec.name, "process": standing.pid}
    if standing.spec.overrides != spec.overrides:
        facts["settings"] = "those it was started with"
    say(Event("attending", facts=facts))
    yield actor


def spec_of(session: Session, *, trusted: bool, learner: Learner | None) -> QueueSpec:
    """What the actor of a session must know, wherever it runs: this process's environment and
    working directory are not its own."""
    overrides = dict(session.overrides)
    url = session.config().queue.database or os.environ.get(VARIABLE)
    if url:
        overrides["queue.database"] = url
    weights = Path(overrides.get("backbone.weights", ""))
    if weights.is_file():
        overrides["backbone.weights"] = str(weights.resolve())
    root = session.root.resolve()
    return QueueSpec(
        root, session.names().workspace_id, tuple(overrides.items()), not trusted, learner
    )


def loopback(address: str) -> bool:
    """Whether only this machine reaches an address `host:port`."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
