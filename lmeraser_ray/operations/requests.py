"""The verbs of one erasure request: `submit`, `status`, `wait`, `cancel`, `refuse`, `extend`,
`retry`.

Each opens the request database, does one thing in one transaction, and returns the request as it
is then. The queue works requests off, whoever runs it; nothing here waits for it but `wait`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError, ExecutionError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.times import utcnow


@contextmanager
def repository(session: Session) -> Iterator[RequestRepository]:
    """The requests of a session's workspace, while the context lasts."""
    with session.database() as database:
        yield RequestRepository(database, session.names())


def submit(
    session: Session,
    targets: ErasureTargets,
    *,
    key: str | None = None,
    due: datetime | None = None,
    submitter: str | None = None,
    quarantine: bool = False,
) -> ErasureRequest:
    """Commit a request for records and subjects; the request is durable when this returns.

    quarantine: constituents that were trained on them do not answer any more when this returns. The
    other arguments, and errors: those of `RequestRepository.submit`.
    """
    with repository(session) as requests:
        made = requests.submit(
            targets.records,
            targets.subjects,
            key=key,
            due=due,
            submitter=submitter,
            quarantine=quarantine,
            quota=session.config().queue.quota,
        )
    if quarantine:
        from lmeraser_ray.erasure.queue.quarantine import quarantine_request  # loads torch

        quarantine_request(session, made.id)
    return made


def status(session: Session, request: str) -> ErasureRequest:
    """Return a request by its id. Errors: `DataError` where there is none."""
    with repository(session) as requests:
        return requests.get(request)


def wait(
    session: Session, request: str, *, timeout_s: float | None = None, while_served: bool = False
) -> ErasureRequest:
    """Wait until a request is closed, and return it.

    timeout_s: seconds to wait at most; while_served: return the open request once no queue is alive
    that could close it. Errors: `DataError` where there is no such request; `ExecutionError` where
    it is open after `timeout_s`.
    """
    end = None if timeout_s is None else time.monotonic() + timeout_s
    settings = session.config().queue
    with session.database() as database:
        requests = RequestRepository(database, session.names())
        while True:
            found = requests.get(request)
            if found.state.is_closed:
                return found
            if while_served and not Lease.live(database, utcnow(), settings.lease):
                return found
            if end is not None and time.monotonic() >= end:
                raise ExecutionError(
                    f"The request {request} is {found.state} after {timeout_s:g} s: wait longer, "
                    "or see `lmeraser queue status` whether a queue works on it."
                )
            time.sleep(settings.poll)


def cancel(session: Session, request: str, reason: str) -> ErasureRequest:
    """Withdraw a request that the queue has not begun. Errors: those of
    `RequestRepository.cancel`."""
    return closed_by(session, lambda requests: requests.cancel(request, reason))


def refuse(session: Session, request: str, reason: str) -> ErasureRequest:
    """Refuse a request for a legal hold. Errors: those of `RequestRepository.refuse`."""
    return closed_by(session, lambda requests: requests.refuse(request, reason))


def closed_by(
    session: Session, close: Callable[[RequestRepository], ErasureRequest]
) -> ErasureRequest:
    """Close a request, and let the constituents answer again that only this request had
    quarantined."""
    with session.database() as database:
        closed = close(RequestRepository(database, session.names()))
        if closed.quarantine:
            from lmeraser_ray.erasure.queue.quarantine import settle_quarantine  # loads torch

            settle_quarantine(session.folder, database, session.config())
    return closed


def extend(session: Session, request: str, months: int, reason: str) -> ErasureRequest:
    """Give a request a later deadline. Errors: those of `RequestRepository.extend`."""
    with repository(session) as requests:
        return requests.extend(request, months, reason)


def retry(session: Session, request: str) -> ErasureRequest:
    """Have the queue try a FAILED request again. Errors: those of `RequestRepository.retry`."""
    with repository(session) as requests:
        return requests.retry(request)


def exit_code_of(state: State, failed: int) -> int:
    """Return the exit code that says how a request ended. failed: the code of a FAILED request."""
    if state is State.CERTIFIED:
        return 0
    return failed if state is State.FAILED else DataError.exit_code
