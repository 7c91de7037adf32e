"""`cancel`: withdraw an erasure request that nobody has looked at."""

from lmeraser_ray.erasure.request import ErasureRequest
from lmeraser_ray.erasure.requests import Requests
from lmeraser_ray.session import Session


def cancel(session: Session, request: str, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.cancel`."""
    with session.database() as database:
        closed = Requests(database, session.names()).cancel(request, reason)
    if closed.quarantine:
        from lmeraser_ray.erasure.quarantine import lift_quarantine  # which knows learners, and so loads torch

        lift_quarantine(session, request)
    return closed


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("cancel")
