"""Steps of a request in a database without a workspace: planning, certifying, and reading its
entries in the ledger."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.transitions import ErasedRecord, Moved
from lmeraser_ray.storage.database import ledger
from tests.support.desk import Desk


def act(desk: Desk, do: Callable[[Connection], object]) -> object:
    with desk.open().write() as connection:
        return do(connection)


def kinds(desk: Desk, request: str) -> list[str]:
    with desk.open().read() as connection:
        assert ledger.check(connection) == []
        return [entry.kind for entry in ledger.entries(connection) if entry.request == request]


def record(desk: Desk, name: str) -> ErasedRecord:
    return ErasedRecord(desk.names.hash("record", name), name, b"needle of " + name.encode())


def planned(
    desk: Desk,
    records: Sequence[str],
    subjects: Sequence[str] = (),
    erases: Sequence[str] | None = None,
) -> ErasureRequest:
    """A request that the queue has planned."""
    request = desk.requests().submit(records, subjects)
    rows = [record(desk, name) for name in (records if erases is None else erases)]
    assert act(desk, lambda c: transitions.plan(c, request.id, rows, {})) == Moved(
        (request.id,), ()
    )
    return desk.requests().get(request.id)


def certify(desk: Desk, request: str) -> None:
    """To the end, as the queue and the signer bring it there."""

    def end(connection: Connection) -> None:
        transitions.begin_training(connection, [request])
        transitions.set_published(connection, 1, [request])
        transitions.wipe_names(connection, [request])
        transitions.set_purged(connection, request, b"statement")
        transitions.move(
            connection, [request], [State.PURGED], State.CERTIFIED, {"envelope": b"signed"}, {}
        )

    act(desk, end)
