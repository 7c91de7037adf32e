"""`cancel`: withdraw an erasure request that nobody has looked at."""

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.pipeline.session import Session


def cancel(session: Session, request: str, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.cancel`."""
    with session.database() as database:
        closed = Requests(database, session.names()).cancel(request, reason)
    if closed.quarantine:
        from lmeraser_ray.erasure.queue.quarantine import lift_quarantine  # which knows learners, and so loads torch

        lift_quarantine(session, request)
    return closed
