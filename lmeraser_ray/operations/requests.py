"""The verbs of erasure requests: `submit`, `status`, `requests`, `wait`, `cancel`, `refuse`,
`extend`, `retry`.

Each opens the request database, does one thing in one transaction, and returns the request as it
is then. The queue works requests off, whoever runs it; nothing here waits for it but `wait`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.search import RequestSearch
from lmeraser_ray.erasure.requests.submission import NO_NOTES, SubmissionNotes
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, DataError, ExecutionError, HeldBackError, LmeraserError
from lmeraser_ray.operations.asked_names import refuse_unseen
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.times import utcnow

AGAIN = "Run the command again, or `lmeraser queue run`."


@contextmanager
def told(session: Session, request: Callable[[], str | None]) -> Iterator[None]:
    """Have an error, and Ctrl-C, say what they mean for the erasure: what the request's state is
    then. request: returns its id, None before it is committed."""
    try:
        yield
    except (LmeraserError, KeyboardInterrupt) as error:
        asked = request()
        if asked is None:
            raise
        try:
            found = status(session, asked)
            sentence = f"{found.standing} {AGAIN}" if found.state.is_open else found.standing
            known = found.standing in str(error)
        except LmeraserError:  # the database is what failed
            sentence, known = f"The request {asked} is in the database. {AGAIN}", False
        if known:
            raise
        raise type(error)(f"{error} {sentence}".strip()) from error


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
    notes: SubmissionNotes = NO_NOTES,
) -> ErasureRequest:
    """Commit a request for records and subjects; the request is durable when this returns.

    quarantine: constituents that were trained on them do not answer any more when this returns. The
    other arguments, and errors: those of `RequestRepository.submit` and of `refuse_unseen`.
    """
    refuse_unseen(session, targets)
    with repository(session) as requests:
        made = requests.submit(
            targets.records,
            targets.subjects,
            key=key,
            due=due,
            submitter=submitter,
            quarantine=quarantine,
            notes=notes,
            quota=session.config().queue.quota,
        )
    if quarantine:
        from lmeraser_ray.erasure.queue.quarantine import quarantine_request  # loads torch

        with told(session, lambda: made.id):
            quarantine_request(session, made.id)
    return made


def status(session: Session, request: str) -> ErasureRequest:
    """Return a request by its id. Errors: `DataError` where there is none."""
    with repository(session) as requests:
        return requests.get(request)


def history(session: Session, request: str) -> list[Event]:
    """Return what happened to a request, in order. Errors: `DataError` where there is none."""
    with repository(session) as requests:
        return requests.history(request)


def search(
    session: Session, asked: RequestSearch, *, limit: int | None = None
) -> list[ErasureRequest]:
    """Return the requests that a search asks for, the newest first. limit: at most so many."""
    with repository(session) as requests:
        return requests.search(asked, limit)


def wait(
    session: Session, request: str, *, timeout_s: float | None = None, while_served: bool = False
) -> ErasureRequest:
    """Wait until a request is closed, and return it.

    timeout_s: seconds to wait at most; while_served: return the open request once no queue is alive
    that could close it. Errors: `DataError` where there is no such request; `HeldBackError` where
    the absence scan holds it back; `ExecutionError` where it is open after `timeout_s`;
    `ConfigError` where that is no number of seconds.
    """
    if timeout_s is not None and not timeout_s >= 0:
        raise ConfigError(f"timeout_s is {timeout_s}: give seconds from 0, or None for no limit.")
    end = None if timeout_s is None else time.monotonic() + timeout_s
    settings = session.config().queue
    with session.database() as database:
        requests = RequestRepository(database, session.names())
        while True:
            found = requests.get(request)
            if found.state.is_closed:
                return found
            if found.findings:
                raise HeldBackError(f"{found.standing} {found.reason}")
            if while_served and not Lease.live(database, utcnow(), settings.lease):
                return found
            if end is not None and time.monotonic() >= end:
                raise ExecutionError(
                    f"The time of {timeout_s:g} s is over. {found.standing} Wait longer, or see "
                    "`lmeraser queue status` whether a queue works on it."
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


def certify(session: Session, request: str, reason: str) -> ErasureRequest:
    """Accept what the absence scan found of a request, so that it is certified with these findings
    named. Errors: those of `RequestRepository.accept`."""
    with repository(session) as requests:
        return requests.accept(request, reason)


def exit_code_of(state: State, failed: int) -> int:
    """Return the exit code that says how a request ended. failed: the code of a FAILED request."""
    if state is State.CERTIFIED:
        return 0
    return failed if state is State.FAILED else DataError.exit_code
