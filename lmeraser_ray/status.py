"""`status`: where an erasure request is. What the queue does is `lmeraser_ray.queue`'s to say."""

from lmeraser_ray.erasure.request import ErasureRequest
from lmeraser_ray.erasure.requests import Requests
from lmeraser_ray.session import Session


def status(session: Session, request: str) -> ErasureRequest:
    """A request by its id. Errors: `DataError` where there is none."""
    with session.database() as database:
        return Requests(database, session.names()).get(request)


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("status")
