"""The queue's metrics for Prometheus, through Ray: `ray_lmeraser_…` on each node's metrics port.

Requests and deadlines are read from the database, so that they are right whichever process changed
them; retrains and seconds are counted by this actor since it started. Every value is labelled with
the workspace's id, a keyed hash; none with an id of a record, a subject or a request.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from ray.util.metrics import Counter, Gauge, Histogram
from sqlalchemy import select

from lmeraser_ray.erasure.queue.overview import Overview, overview
from lmeraser_ray.erasure.requests.events import Event, Follower
from lmeraser_ray.erasure.requests.request import ALERTS, State
from lmeraser_ray.erasure.requests.transitions import CHUNK
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.times import from_text

if TYPE_CHECKING:
    from lmeraser_ray.distributed.engine import RayEngine

EVERY_S = 1.0
HOUR, DAY = 3600.0, 86400.0
BOUNDARIES = [
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    900.0,
    HOUR,
    6 * HOUR,
    DAY,
    7 * DAY,
    15 * DAY,
    30 * DAY,
    60 * DAY,
]
"""Seconds: from a small shard's retrain to a deadline that was extended."""


class Meters:
    """The metrics of one workspace's queue."""

    def __init__(self, session: Session, workspace_id: str) -> None:
        self._session = session
        workspace = {"workspace": workspace_id}
        tag = ("workspace",)

        def gauge(name: str, what: str, *more: str) -> Gauge:
            return Gauge(f"lmeraser_{name}", what, tag_keys=(*tag, *more)).set_default_tags(
                workspace
            )

        def counter(name: str, what: str) -> Counter:
            return Counter(f"lmeraser_{name}", what, tag_keys=tag).set_default_tags(workspace)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(
                f"lmeraser_{name}", what, boundaries=BOUNDARIES, tag_keys=tag
            ).set_default_tags(workspace)

        self.requests = gauge("requests", "Erasure requests by state.", "state")
        self.oldest = gauge(
            "oldest_open_seconds", "Age of the oldest unanswered erasure request, 0 without one."
        )
        self.alerts = gauge(
            "deadline_alerts",
            "Unanswered requests by the highest share of their time that is used up.",
            "percent",
        )
        self.slots = gauge("slots_in_use", "Retrains under way.")
        self.saved = gauge(
            "retrains_saved",
            "Retrains that sharing between requests saved, less those that started over.",
        )
        self.superseded = gauge(
            "retrains_superseded", "Retrains that started over for a request that came meanwhile."
        )
        self.published = histogram(
            "publication_seconds", "From the receipt of a request to the state without its records."
        )
        self.certified = histogram(
            "certification_seconds", "From the receipt of a request to its certificate."
        )
        self.retrain_seconds = counter("retrain_seconds", "Seconds of retrains that ended.")
        self.gpu_seconds = counter(
            "gpu_seconds", "Seconds of retrains that ended, times the GPUs that each had."
        )
        self._lock = threading.Lock()
        self._counted: tuple[RayEngine, float] | None = None

    def count(self, engine: "RayEngine") -> None:
        """Count the seconds of an engine from now on, instead of those of the one before."""
        self._spend()
        with self._lock:
            self._counted = (engine, 0.0)

    def _spend(self) -> None:
        """Add the seconds of the retrains that ended since the last call."""
        with self._lock:
            if self._counted is None:
                return
            engine, before = self._counted
            seconds = engine.seconds - before
            self._counted = (engine, engine.seconds)
        if seconds > 0:
            self.retrain_seconds.inc(seconds)
            gpus = engine.gpus
            if gpus:
                self.gpu_seconds.inc(seconds * gpus)

    def run(self, ended: threading.Event) -> None:
        """Measure until the queue has ended, and once more. While the database cannot be reached
        (which the queue reports), the values stay."""
        lease_s = self._session.config().queue.lease
        with self._session.database() as database:
            follower, last = Follower(database), False
            while not last:
                last = ended.wait(EVERY_S)
                with suppress(ExecutionError):
                    self._set_gauges(overview(database, lease_s=lease_s))
                    self._observe(database, follower.new())
                self._spend()

    def _set_gauges(self, found: Overview) -> None:
        """Set the gauges."""
        for state, count in found.counts.items():
            self.requests.set(count, {"state": str(state)})
        self.oldest.set((found.now - found.oldest).total_seconds() if found.oldest else 0.0)
        for level in ALERTS:
            self.alerts.set(found.alerts.get(level, 0), {"percent": str(level)})
        self.slots.set(found.in_use)
        self.saved.set(found.snapshot.get("saved", 0))
        self.superseded.set(found.snapshot.get("superseded", 0))

    def _observe(self, database: Database, events: Sequence[Event]) -> None:
        """Observe how long after its receipt each request was published, or certified."""
        meters = {State.PUBLISHED.lower(): self.published, State.CERTIFIED.lower(): self.certified}
        ended = [event for event in events if event.what in meters]
        received: dict[str, datetime] = {}
        for at in range(0, len(ended), CHUNK):
            ids = [event.request for event in ended[at : at + CHUNK]]
            with database.read() as connection:
                rows = connection.execute(
                    select(requests.c.id, requests.c.received_at).where(requests.c.id.in_(ids))
                )
                received.update((row.id, from_text(row.received_at)) for row in rows)
        for event in ended:
            meters[event.what].observe(
                (from_text(event.at) - received[event.request or ""]).total_seconds()
            )
