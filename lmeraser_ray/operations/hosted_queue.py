"""A queue that runs in another process than `lmeraser queue serve`: what that process is told, what
it says of itself, and how `serve` reaches it. Nothing here knows Ray."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.models.learners.base import Learner
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import VARIABLE
from lmeraser_ray.storage.paths import Location


@dataclass(frozen=True)
class QueueSpec:
    """What the hosting process must know.

    overrides: of the workspace's configuration (not shown: the database's URL may hold a password);
    token: refuse a cluster that does not ask for a token; learner: replaces the configured one.
    """

    root: Location
    workspace: str
    overrides: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token: bool = True
    learner: Learner | None = None

    @property
    def name(self) -> str:
        """The name of the actor that hosts the queue."""
        return f"lmeraser-queue-{self.workspace}"


@dataclass(frozen=True)
class QueueStatus:
    """What the hosting process says of itself.

    spec: what it was started with; attached: whether the `serve` that asks is the one that is
    attached; ended: whether the queue works no more, because of `error`, of a defect (its
    traceback), or because it was told to stop; events: those since the last status.
    """

    spec: QueueSpec
    pid: int
    attached: bool
    ended: bool
    error: LmeraserError | None
    defect: str | None
    events: tuple[Event, ...]


class QueueHandle(Protocol):
    """The hosting process as `serve` reaches it."""

    def look(self, *, drain: bool) -> QueueStatus | None:
        """Return the status, None while the process is being started again. drain: stop once what
        is being trained is finished. Errors: `ExecutionError` where the process cannot live."""

    def dismiss(self) -> None:
        """End the process, whatever it does."""


def spec_of(session: Session, *, trusted: bool, learner: Learner | None) -> QueueSpec:
    """Describe a session for a process on any machine, whose environment and working directory are
    others. trusted: accept a cluster that does not ask for a token."""
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
