"""`wait`: until an erasure request is closed."""

import time

from lmeraser_ray.erasure.requests.repository import Requests
from lmeraser_ray.erasure.requests.request import CLOSED, ErasureRequest, State
from lmeraser_ray.errors import DataError, ExecutionError
from lmeraser_ray.pipeline.session import Session


def wait(session: Session, request: str, *, timeout_s: float | None = None) -> ErasureRequest:
    """The request once it is closed. Errors: `DataError` where there is none; `ExecutionError` where it is open when the time is over."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    poll = session.config().queue.poll
    with session.database() as database:
        requests = Requests(database, session.names())
        while True:
            found = requests.get(request)
            if found.state in CLOSED:
                return found
            if end is not None and time.monotonic() >= end:
                raise ExecutionError(
                    f"The request {request} is {found.state} after {timeout_s:g} s: wait longer, or see `lmeraser queue status` whether a "
                    "queue works on it."
                )
            time.sleep(poll)


def exit_code_of(state: State, failed: int) -> int:
    """The exit code that tells how a request ended. failed: the one of a FAILED request."""
    if state is State.CERTIFIED:
        return 0
    return failed if state is State.FAILED else DataError.exit_code
