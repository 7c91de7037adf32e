"""Row 8: two queues on one workspace. The first is stopped in the middle of its work, the second
takes over, and the first wakes up.

On one machine the workspace's lock keeps the second away for as long as the first lives, stopped or
not: a file system cannot be fenced against a process that may go on at any moment, so that it has
to be ended first, which costs nothing. Where the lock is not what it should be (a file system of
several machines, someone who removed the file), the epoch is what protects: every write of the
first is refused.
"""

from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import select

from lmeraser_ray.storage.database import tables
from tests.support.children import state_of
from tests.support.law import held
from tests.support.story import ALONE, LANES, Case

pytestmark = pytest.mark.long

KILLED = -9
Make = Callable[[str | None], Case]


def everything(case: Case) -> dict[str, object]:
    """All that a stale queue could change: the store, the pointer, every row, the tables of the
    lease apart."""
    with closing(case.database()) as database, database.read() as conn:
        rows = {
            table.name: conn.execute(select(table)).all()
            for table in tables.metadata.sorted_tables
            if table is not tables.lease
        }
    return {**held(case.root), **rows}


def test_nobody_else_works_while_a_stopped_queue_has_the_workspace(case: Case) -> None:
    """The error names the process; requests are taken all the same; ending the process, which is
    safe, frees the workspace."""
    case.submit(case.ids[ALONE])
    first = case.work(pause=("batch", 1))
    first.reached()
    case.stop(first)
    case.submit(*(case.ids[i] for i in LANES))
    ended = case.work().end()
    assert ended.code == 5
    assert f"process {first.pid}" in ended.err
    assert state_of(first.pid) == "T"
    first.kill()
    assert first.end().code == KILLED
    case.settle()
    case.expect_whole()


POINTS = [
    ("batch", 1),
    ("after constituent", 1),
    ("before manifest", 1),
    ("before removal", 1),
    ("before signature", 1),
]


@pytest.mark.parametrize("point", POINTS, ids=[" ".join(map(str, point)) for point in POINTS])
def test_a_queue_that_wakes_up_after_another_took_over_changes_nothing(
    case: Case, point: tuple[str, int]
) -> None:
    """Without the lock: the second finishes, under the next epoch; the first writes nothing more,
    and says why."""
    case.submit(case.ids[ALONE])
    first = case.work(pause=point)
    first.reached()
    case.stop(first)
    epoch = case.epoch()
    (case.root / "lock").unlink()
    case.submit(*(case.ids[i] for i in LANES))
    case.settle()
    assert case.epoch() == epoch + 1
    after = everything(case)
    first.wake()
    first.go_on()
    ended = first.end()
    if (
        "signature" not in point[0] or ended.code
    ):  # else nothing is left to do, or its heart notices first
        assert ended.code == 5, ended
        last = ended.err.splitlines()[-1]
        assert "Another queue has taken over" in last or "no sign of life" in last, last
    assert everything(case) == after
    case.expect_whole()


@pytest.mark.parametrize("point", ["before pointer", "after pointer"])
def test_a_queue_that_is_stopped_within_the_transaction_that_publishes(
    make: Make, postgresql: str, point: str
) -> None:
    """On PostgreSQL the server ends the stopped one's transaction; its pointer is overwritten, and
    what it still does comes to nothing."""
    case = make(postgresql)
    case.submit(case.ids[ALONE])
    first = case.work(pause=(point, 1))
    first.reached()
    first.stop()
    (case.root / "lock").unlink()
    case.submit(*(case.ids[i] for i in LANES))
    case.settle()
    after = everything(case)
    first.wake()
    first.go_on()
    assert first.end().code == 5
    assert everything(case) == after
    case.expect_whole()
