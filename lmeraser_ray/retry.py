"""`retry`: have a failed erasure request tried again."""

from lmeraser_ray.erasure.request import ErasureRequest
from lmeraser_ray.erasure.requests import Requests
from lmeraser_ray.session import Session


def retry(session: Session, request: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.retry`."""
    with session.database() as database:
        return Requests(database, session.names()).retry(request)


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("retry")
