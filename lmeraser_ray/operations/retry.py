"""`retry`: have a failed erasure request tried again."""

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.pipeline.session import Session


def retry(session: Session, request: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.retry`."""
    with session.database() as database:
        return Requests(database, session.names()).retry(request)
