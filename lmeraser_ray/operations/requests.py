"""`submit`: commit an erasure request. It returns when the request is durable; who works it off, and when, is the queue's."""

from datetime import datetime

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import ErasureRequest
from lmeraser_ray.erasure.requests.targets import Request
from lmeraser_ray.pipeline.session import Session


def submit(
    session: Session,
    request: Request,
    *,
    key: str | None = None,
    due: datetime | None = None,
    submitter: str | None = None,
    quarantine: bool = False,
) -> ErasureRequest:
    """Commit a request for records and subjects; the arguments are those of `Requests.submit`. quarantine: what was trained on them stops
    answering before this returns. Errors: as there."""
    with session.database() as database:
        requests, quota = Requests(database, session.names()), session.config().queue.quota
        made = requests.submit(request.records, request.subjects, key=key, due=due, submitter=submitter, quarantine=quarantine, quota=quota)
    if quarantine:
        from lmeraser_ray.erasure.queue.quarantine import quarantine_request  # which knows learners, and so loads torch

        quarantine_request(session, made.id)
    return made
