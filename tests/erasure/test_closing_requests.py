"""Requests that a person cancels or refuses: from which states, what becomes of their names and
tombstones, and what other requests keep."""

import pytest
from sqlalchemy import select

from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.transitions import Moved
from lmeraser_ray.errors import ConfigError, DataError
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.tombstones import Tombstones, cover_hashes
from tests.support.desk import Desk
from tests.support.request_steps import act, certify, planned, record

S = State


def test_cancelling_is_for_what_nobody_has_looked_at(desk: Desk) -> None:
    request = desk.requests().submit(["a"], ["s"])
    found = desk.requests().cancel(request.id, " withdrawn ")
    assert (found.state, found.reason) == (S.CANCELLED, "withdrawn")
    assert {target.name for target in found.targets} == {None}
    other = planned(desk, ["a"])
    with pytest.raises(ConfigError, match="is PLANNED: only from RECEIVED it can become CANCELLED"):
        desk.requests().cancel(other.id, "withdrawn")
    assert desk.requests().get(other.id) == other
    with pytest.raises(ConfigError, match="--reason is empty"):
        desk.requests().cancel(request.id, "  ")
    with pytest.raises(DataError, match="no erasure request"):
        desk.requests().cancel("er-0", "x")


@pytest.mark.parametrize("state", [S.RECEIVED, S.PLANNED, S.FAILED])
def test_refusing_takes_names_and_tombstones_back(desk: Desk, state: State) -> None:
    long_ago = Tombstones(desk.names, desk.open()).hashed(["long ago"], ["s"])
    with desk.open().write() as connection:
        cover_hashes(connection, long_ago, secret=1, at="2020")
    request = (
        desk.requests().submit(["a"], ["s"])
        if state is S.RECEIVED
        else planned(desk, ["a"], ["t"], erases=["a", "t/1"])
    )
    if state is S.FAILED:
        act(desk, lambda c: transitions.fail(c, request.id, "x"))
    found = desk.requests().refuse(request.id, "legal hold")
    assert (found.state, found.reason, {target.name for target in found.targets}) == (
        S.REFUSED,
        "legal hold",
        {None},
    )
    stones = Tombstones(desk.names, desk.open())
    assert (
        len(stones) == 2 and stones.covers("record", "long ago") and stones.covers("subject", "s")
    )
    with desk.open().read() as connection:
        assert {(row.name, row.needles) for row in connection.execute(select(tables.erased))} <= {
            (None, None)
        }
    for closed in (request.id, request.id):
        with pytest.raises(
            ConfigError, match="is REFUSED: only from RECEIVED or PLANNED or FAILED"
        ):
            desk.requests().refuse(closed, "again")


@pytest.mark.parametrize("state", [S.TRAINING, S.PUBLISHED, S.PURGED, S.CERTIFIED, S.CANCELLED])
def test_what_goes_on_is_not_refused(lite: Desk, state: State) -> None:
    request = lite.requests().submit(["a"], [])
    act(lite, lambda c: transitions.move(c, [request.id], [S.RECEIVED], state, {}, {}))
    with pytest.raises(ConfigError, match=f"is {state}: only from"):
        lite.requests().refuse(request.id, "legal hold")


@pytest.mark.parametrize(
    "other", ["planned", "certified", "failed", "refused", "received", "tried again"]
)
def test_a_tombstone_that_another_request_needs_stays(desk: Desk, other: str) -> None:
    """Both name a, by its own id or as one of its subject's."""
    second = (
        desk.requests().submit([], ["s"])
        if other == "received"
        else planned(desk, [], ["s"], erases=["a", "c"])
    )
    if other == "certified":
        certify(desk, second.id)
    if other in ("failed", "tried again"):
        act(desk, lambda c: transitions.fail(c, second.id, "x"))
    if other == "tried again":
        desk.requests().retry(second.id)
    if other == "refused":
        desk.requests().refuse(second.id, "x")
    first = planned(desk, ["a", "b"])
    desk.requests().refuse(first.id, "legal hold")
    stones = Tombstones(desk.names, desk.open())
    needed = other in ("planned", "certified", "failed", "tried again")
    assert not stones.covers("record", "b")
    assert (
        stones.covers("record", "a")
        == stones.covers("record", "c")
        == stones.covers("subject", "s")
        == needed
    )


def test_two_that_want_the_same_request_at_once(desk: Desk) -> None:
    """The queue plans while a person refuses: one of them wins, and the other is told."""
    request = desk.requests().submit(["a"], [])
    desk.requests().refuse(request.id, "legal hold")
    assert act(desk, lambda c: transitions.plan(c, request.id, [record(desk, "a")], {})) == Moved(
        (), (request.id,)
    )
    assert (desk.count("erased"), desk.count("tombstones")) == (0, 0)


def test_a_reason_that_fails_leaves_all_as_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State, tombstones, names and ledger are of one transaction."""
    request = planned(desk, ["a"])
    before = desk.count("ledger")

    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("lmeraser_ray.storage.database.database.committing", fail)
    with pytest.raises(ZeroDivisionError):
        desk.requests().refuse(request.id, "legal hold")
    monkeypatch.undo()
    assert desk.requests().get(request.id) == request
    assert (desk.count("ledger"), desk.count("tombstones")) == (before, 1)
