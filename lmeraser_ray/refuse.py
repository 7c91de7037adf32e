"""`refuse`: refuse an erasure request: a legal hold (GDPR art. 17(3))."""

from lmeraser_ray.erasure.request import ErasureRequest
from lmeraser_ray.erasure.requests import Requests
from lmeraser_ray.session import Session


def refuse(session: Session, request: str, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `Requests.refuse`."""
    with session.database() as database:
        closed = Requests(database, session.names()).refuse(request, reason)
    if closed.quarantine:
        from lmeraser_ray.erasure.quarantine import lift_quarantine  # which knows learners, and so loads torch

        lift_quarantine(session, request)
    return closed


if __name__ == "__main__":
    from lmeraser_ray.cli import main

    main("refuse")
