"""`extend`: put an erasure request's deadline off, once, with a reason (GDPR art. 12(3))."""

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.pipeline.session import Session


def extend(session: Session, request: str, months: int, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.extend`."""
    with session.database() as database:
        return Requests(database, session.names()).extend(request, months, reason)
