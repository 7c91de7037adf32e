"""`status`: where an erasure request is. What the queue does is `lmeraser_ray.operations.serve`'s to say."""

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.pipeline.session import Session


def status(session: Session, request: str) -> ErasureRequest:
    """A request by its id. Errors: `DataError` where there is none."""
    with session.database() as database:
        return Requests(database, session.names()).get(request)
