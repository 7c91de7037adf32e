"""How erasure requests are kept and processed, which must not change a byte of the state that they
lead to: the section `queue`."""

from typing import Annotated

from pydantic import Field

from lmeraser_ray.config.section import OperatorOnly, Positive, Section

Window = Annotated[float, Field(ge=0, le=1e9)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class QueueConfig(Section):
    """How erasure requests are kept and processed."""

    database: Annotated[str | None, OperatorOnly()] = None
    """postgresql://… without a password, shared by several machines; None uses LMERASER_DATABASE,
    else SQLite in the workspace. No workspace keeps it."""
    window: Window = 0.0
    """Seconds that a new request waits for others, so that they are planned together."""
    quota: Annotated[int, Field(ge=0)] = 100_000
    """Open requests that one submitter may have; 0 is any number."""
    attempts: Positive = 3
    """How often a retrain is tried, worker deaths within a try apart (`execution.retries`), before
    its request is FAILED."""
    supersedes: Annotated[int, Field(ge=0)] = 3
    """How often the retrain of a shard may start over for a request that came meanwhile."""
    tombstone_days: Annotated[int, Field(gt=0, le=36_500)] | None = None
    """Days after which it is forgotten who was erased, so that a source that still has the record
    brings it back; None keeps it as long as the workspace."""
    lease: Seconds = 10.0
    """Seconds without a sign of life after which another queue may take over."""
    poll: Seconds = 0.2
    """Seconds between two looks for new requests."""
