"""The actor that hosts a workspace's queue, as `lmeraser queue serve` reaches it.

    connect → find or make the actor → attach → (look, look, …) → dismiss it, or let it work on

Invariant: at most one `serve` is attached to an actor. One that is silent for `ATTACHED_S` seconds
can be replaced by another.
"""

import ipaddress
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import ray
import ray.exceptions

from lmeraser_ray.distributed.cluster import here
from lmeraser_ray.distributed.queue_actor import ATTACHED_S, QueueActor
from lmeraser_ray.erasure.requests.events import Event, Say
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.hosted_queue import QueueSpec, QueueStatus
from lmeraser_ray.pipeline.waiting import Waiting
from lmeraser_ray.storage.database.database import Dialect

NAMESPACE = "lmeraser"
SEAT = "lmeraser_queue"
"""A resource of Ray's that a node may have: the queue's actor lives on such a node then, and no
other node needs what the queue may do (the request database, the secret of hashes)."""
ANSWER_S, START_S, GONE_S = 5.0, 180.0, 20.0
"""Seconds to wait for an answer of a live actor, for its first answer, and for its end."""


class ActorHandle:
    """The actor of one queue, found or made. Implements `QueueHandle`."""

    def __init__(self, spec: QueueSpec, dialect: Dialect) -> None:
        """dialect: of the request database. A SQLite file is on this machine, so that the actor
        must be here too."""
        self.spec = spec
        self.me = f"process {os.getpid()} on {platform.node()}, {time.monotonic_ns()}"
        self._options = {
            "name": spec.name,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": -1,
            "num_cpus": 0,
            **place(dialect, ray.cluster_resources()),
        }
        self._attached = False
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
        """Attach to the actor, and return its status.

        Errors: `ExecutionError` where another `serve` is attached, where the actor works on another
        folder, or where the actor does not start.
        """
        with Waiting("for the queue's actor"):
            return self._begin()

    def _begin(self) -> QueueStatus:
        begun = time.monotonic()
        while True:
            status = self.look(drain=False, patience=START_S)
            waited = time.monotonic() - begun
            if status is None:
                if waited > START_S:
                    raise ExecutionError(
                        "The queue's actor does not answer: look at the cluster (`ray status`)."
                    )
            elif status.spec.root != self.spec.root:
                raise ExecutionError(
                    f"The actor {self.spec.name} works on {status.spec.root}, of which "
                    f"{self.spec.root} is a copy: stop that one first."
                )
            elif not status.attached:
                if waited > ATTACHED_S + 1:
                    raise ExecutionError(
                        "Another `lmeraser queue serve` attends this workspace's queue: stop it "
                        "first."
                    )
                time.sleep(0.2)
            elif (status.ended or status.defect) and self._found:
                # Left by an earlier `serve`, which was killed before it could dismiss this actor.
                self.dismiss()
                self._make()
            else:
                self._attached = True
                return status

    def look(self, *, drain: bool, patience: float = ANSWER_S) -> QueueStatus | None:
        """Return the actor's status; None while Ray starts the actor again.

        drain: stop once what is being trained is finished; patience: seconds to wait. Errors:
        `ExecutionError` where the actor cannot be started, or another `serve` has attached since
        this one was silent.
        """
        try:
            status: QueueStatus = ray.get(
                self._actor.report.remote(self.me, self.spec.root, drain=drain), timeout=patience
            )
        except (ray.exceptions.ActorUnavailableError, ray.exceptions.GetTimeoutError):
            return None
        except ray.exceptions.ActorDiedError as error:
            if not self._lived:
                raise ExecutionError(f"The queue's actor could not be started: {error}") from error
            self._make()
            return None
        if self._attached and not status.attached:
            raise ExecutionError(
                "Another `lmeraser queue serve` attends this workspace's queue now: this one ends."
            )
        self._lived = True
        return status

    def abandon(self) -> None:
        """End the actor if this handle made it."""
        if not self._found:
            self.dismiss()

    def dismiss(self) -> None:
        """End the actor, whatever it does, and wait until its name is free."""
        with suppress(ray.exceptions.RayError):  # the actor is gone already
            ray.kill(self._actor)
        end = time.monotonic() + GONE_S
        while self._exists():
            if time.monotonic() > end:
                raise ExecutionError(
                    f"The actor {self.spec.name} cannot be ended: look at the cluster (`ray list "
                    "actors`)."
                )
            time.sleep(0.05)


def place(dialect: Dialect, resources: Mapping[str, float]) -> dict[str, Any]:
    """Return the options of Ray's that say where the actor lives: with SQLite here, where its file
    is; else on a node with the seat, anywhere where no node has it. resources: the cluster's."""
    if dialect == "sqlite":
        return {"scheduling_strategy": here()}
    return {"resources": {SEAT: 0.001}} if SEAT in resources else {}


@contextmanager
def attach(spec: QueueSpec, dialect: Dialect, say: Say) -> Iterator[ActorHandle]:
    """Attach to the queue's actor, which is made where there is none. The actor works on when the
    context ends. Errors: as `ActorHandle.begin`."""
    spec = replace(spec, token=spec.token and not loopback(ray.get_runtime_context().gcs_address))
    actor = ActorHandle(spec, dialect)
    try:
        status = actor.begin()
    except BaseException:
        actor.abandon()
        raise
    facts: dict[str, object] = {"actor": spec.name, "process": status.pid}
    if status.spec.overrides != spec.overrides:
        facts["settings"] = "those it was started with"
    say(Event("attending", facts=facts))
    yield actor


def loopback(address: str) -> bool:
    """Whether only this machine reaches an address `host:port`."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
