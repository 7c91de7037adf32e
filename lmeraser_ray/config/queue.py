"""How erasure requests are kept and processed, which must not change a byte of the state that they
lead to: the section `queue`."""

from typing import Annotated

from pydantic import Field

from lmeraser_ray.config.section import Positive, Section

Seconds = Annotated[float, Field(ge=0)]


class QueueConfig(Section):
    """How erasure requests are kept and processed."""

    database: str | None = None
    """postgresql://… without a password, shared by several machines; None uses LMERASER_DATABASE,
    else SQLite in the workspace."""
    window: Seconds = 0.0
    """Seconds that a new request waits for others, so that they are planned together."""
    quota: Annotated[int, Field(ge=0)] = 100_000
    """Open requests that one submitter may have; 0 is any number."""
    attempts: Positive = 3
    """How often a retrain is tried, worker deaths within a try apart (`execution.retries`), before
    its request is FAILED."""
    supersedes: Annotated[int, Field(ge=0)] = 3
    """How often the retrain of a shard may start over for a request that came meanwhile."""
    lease: Annotated[float, Field(gt=0)] = 10.0
    """Seconds without a sign of life after which another queue may take over."""
    poll: Annotated[float, Field(gt=0)] = 0.2
    """Seconds between two looks for new requests."""
