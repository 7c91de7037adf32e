"""What the queue measures of itself, for Prometheus, through Ray: `ray_lmeraser_…` on each node's metrics port.

Requests and deadlines are read from the database, so that they are true whoever changed them; retrains and seconds are those of this actor
since it started. Every value carries the workspace's id, a keyed hash; none carries an id of a record, a subject or a request.
"""

import threading
from typing import TYPE_CHECKING

from ray.util.metrics import Counter, Gauge, Histogram
from sqlalchemy import select

from lmeraser_ray.erasure.events import Follower
from lmeraser_ray.erasure.overview import Overview, overview
from lmeraser_ray.erasure.request import ALERTS, State
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.session import Session
from lmeraser_ray.state.database import Database
from lmeraser_ray.state.tables import requests
from lmeraser_ray.state.times import from_text

if TYPE_CHECKING:
    from lmeraser_ray.distributed.engine import RayEngine

EVERY_S = 1.0
HOUR, DAY = 3600.0, 86400.0
BOUNDARIES = [0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, HOUR, 6 * HOUR, DAY, 7 * DAY, 15 * DAY, 30 * DAY, 60 * DAY]
"""Seconds: from a small shard's retrain to a deadline that was extended."""


class Meters:
    """The metrics of one workspace's queue."""

    def __init__(self, session: Session) -> None:
        self._session = session
        workspace = {"workspace": session.names().workspace_id}
        tag = ("workspace",)

        def gauge(name: str, what: str, *more: str) -> Gauge:
            return Gauge(f"lmeraser_{name}", what, tag_keys=(*tag, *more)).set_default_tags(workspace)

        def counter(name: str, what: str) -> Counter:
            return Counter(f"lmeraser_{name}", what, tag_keys=tag).set_default_tags(workspace)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(f"lmeraser_{name}", what, boundaries=BOUNDARIES, tag_keys=tag).set_default_tags(workspace)

        self.requests = gauge("requests", "Erasure requests by state.", "state")
        self.oldest = gauge("oldest_open_seconds", "Age of the oldest unanswered erasure request, 0 without one.")
        self.alerts = gauge("deadline_alerts", "Unanswered requests by the highest share of their time that is used up.", "percent")
        self.slots = gauge("slots_in_use", "Retrains under way.")
        self.saved = gauge("retrains_saved", "Retrains that sharing between requests saved, less those that started over.")
        self.superseded = gauge("retrains_superseded", "Retrains that started over for a request that came meanwhile.")
        self.published = histogram("publication_seconds", "From the receipt of a request to the state without its records.")
        self.certified = histogram("certification_seconds", "From the receipt of a request to its certificate.")
        self.retrain_seconds = counter("retrain_seconds", "Seconds of retrains that ended.")
        self.gpu_seconds = counter("gpu_seconds", "Seconds of retrains that ended, times the GPUs that each had.")
        self._counted: tuple[RayEngine, float] | None = None

    def count(self, engine: "RayEngine") -> None:
        """Count an engine's seconds from now on, instead of the one before."""
        self._spend()
        self._counted = (engine, 0.0)

    def _spend(self) -> None:
        """Add the seconds that ended since the last time."""
        if self._counted is None:
            return
        engine, before = self._counted
        seconds = engine.seconds
        if seconds > before:
            self._counted = (engine, seconds)
            self.retrain_seconds.inc(seconds - before)
            if engine.gpus_each:
                self.gpu_seconds.inc((seconds - before) * engine.gpus_each)

    def run(self, ended: threading.Event) -> None:
        """Measure until the queue has ended, and once more. While the database cannot be reached, which the queue tells, nothing changes."""
        follower: Follower | None = None
        last = False
        while not last:
            last = ended.wait(EVERY_S)
            try:
                with self._session.database() as database:
                    follower = Follower(database, after=follower.after if follower else None)
                    self._measure(database, follower)
            except ExecutionError:
                continue
