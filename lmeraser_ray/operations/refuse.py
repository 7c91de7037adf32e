"""`refuse`: refuse an erasure request: a legal hold (GDPR art. 17(3))."""

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.pipeline.session import Session


def refuse(session: Session, request: str, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.refuse`."""
    with session.database() as database:
        closed = Requests(database, session.names()).refuse(request, reason)
    if closed.quarantine:
        from lmeraser_ray.erasure.queue.quarantine import lift_quarantine  # which knows learners, and so loads torch

        lift_quarantine(session, request)
    return closed
