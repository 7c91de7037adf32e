"""`submit`: commit an erasure request. It returns when the request is durable; who works it off,
and when, is the queue's."""

import time
from datetime import datetime

from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError, ExecutionError
from lmeraser_ray.pipeline.session import Session


def submit(
    session: Session,
    request: ErasureTargets,
    *,
    key: str | None = None,
    due: datetime | None = None,
    submitter: str | None = None,
    quarantine: bool = False,
) -> ErasureRequest:
    """Commit a request for records and subjects; the arguments are those of
    `RequestRepository.submit`. quarantine: what was trained on them stops answering before this
    returns. Errors: as there."""
    with session.database() as database:
        requests, quota = RequestRepository(database, session.names()), session.config().queue.quota
        made = requests.submit(
            request.records,
            request.subjects,
            key=key,
            due=due,
            submitter=submitter,
            quarantine=quarantine,
            quota=quota,
        )
    if quarantine:
        from lmeraser_ray.erasure.queue.quarantine import (
            quarantine_request,
        )  # which knows learners, and so loads torch

        quarantine_request(session, made.id)
    return made


def cancel(session: Session, request: str, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `RequestRepository.cancel`."""
    with session.database() as database:
        closed = RequestRepository(database, session.names()).cancel(request, reason)
    if closed.quarantine:
        from lmeraser_ray.erasure.queue.quarantine import (
            lift_quarantine,
        )  # which knows learners, and so loads torch

        lift_quarantine(session, request)
    return closed


def extend(session: Session, request: str, months: int, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `RequestRepository.extend`."""
    with session.database() as database:
        return RequestRepository(database, session.names()).extend(request, months, reason)


def refuse(session: Session, request: str, reason: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `RequestRepository.refuse`."""
    with session.database() as database:
        closed = RequestRepository(database, session.names()).refuse(request, reason)
    if closed.quarantine:
        from lmeraser_ray.erasure.queue.quarantine import (
            lift_quarantine,
        )  # which knows learners, and so loads torch

        lift_quarantine(session, request)
    return closed


def retry(session: Session, request: str) -> ErasureRequest:
    """The request as it is then. Errors: those of `RequestRepository.retry`."""
    with session.database() as database:
        return RequestRepository(database, session.names()).retry(request)


def status(session: Session, request: str) -> ErasureRequest:
    """A request by its id. Errors: `DataError` where there is none."""
    with session.database() as database:
        return RequestRepository(database, session.names()).get(request)


def wait(session: Session, request: str, *, timeout_s: float | None = None) -> ErasureRequest:
    """The request once it is closed. Errors: `DataError` where there is none; `ExecutionError`
    where it is open when the time is over."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    poll = session.config().queue.poll
    with session.database() as database:
        requests = RequestRepository(database, session.names())
        while True:
            found = requests.get(request)
            if found.state.is_closed:
                return found
            if end is not None and time.monotonic() >= end:
                raise ExecutionError(
                    f"The request {request} is {found.state} after {timeout_s:g} s: wait longer, "
                    "or see `lmeraser queue status` whether a queue works on it."
                )
            time.sleep(poll)


def exit_code_of(state: State, failed: int) -> int:
    """The exit code that tells how a request ended. failed: the one of a FAILED request."""
    if state is State.CERTIFIED:
        return 0
    return failed if state is State.FAILED else DataError.exit_code
