"""Each rule of the scheduler by itself: the order of tickets, when a run is superseded, what is
dropped or failed, tainted tickets, exclusive runs, and misuse."""

import pytest

from lmeraser_ray.erasure.queue.scheduler import (
    AffectedConstituent,
    Policy,
    Scheduler,
    Start,
    TrainingProgress,
    worth_superseding,
)
from tests.support.scheduling import MONTH, begun, finish_all, half, near_end, ticket, unknown


def test_deadline_first_then_oldest_then_as_they_came() -> None:
    scheduler = Scheduler(Policy(), 1)
    for name, constituent, at, due in [
        ("late", 0, 0, 9),
        ("old", 1, 1, 5),
        ("young", 2, 2, 5),
        ("same", 3, 2, 5),
        ("urgent", 4, 3, 4),
    ]:
        scheduler.add(ticket(name, constituent, at=at, due=due))
    assert [start.requests for start in finish_all(scheduler)] == [
        ("urgent",),
        ("old",),
        ("young",),
        ("same",),
        ("late",),
    ]


def test_an_urgent_ticket_takes_its_lane_along() -> None:
    scheduler = Scheduler(Policy(), 1)
    scheduler.add(ticket("a", 0, due=10))
    scheduler.add(ticket("b", 1, due=11))
    scheduler.add(ticket("c", 1, due=5))
    assert scheduler.next(0, unknown) == [Start(1, ("c", "b"), False)]


def test_a_request_is_done_when_all_its_lanes_are() -> None:
    scheduler = Scheduler(Policy(), 2)
    scheduler.add(ticket("a", 0, 1, 2))
    assert {start.constituent for start in scheduler.next(0, unknown)} == {
        0,
        1,
    } and scheduler.waiting == 1
    assert scheduler.finished(1) == ()
    assert scheduler.next(0, unknown) == [Start(2, ("a",), False)] and scheduler.waiting == 0
    assert scheduler.finished(0) == () and scheduler.finished(2) == ("a",) and len(scheduler) == 0


@pytest.mark.parametrize(
    ("progress", "running", "joining", "slack", "expected"),
    [
        (TrainingProgress(2, 8), 7, 1, MONTH, True),  # 8 s saved twice, 2 s lost seven times
        (TrainingProgress(2, 8), 8, 1, MONTH, False),  # as much lost as saved
        (TrainingProgress(9, 1), 1, 8, MONTH, False),
        (TrainingProgress(9, 1), 1, 9, MONTH, True),
        (TrainingProgress(0, 10), 1000, 1, MONTH, True),  # nothing is lost
        (TrainingProgress(0, 10), 1, 1, 19.9, False),  # too near to the deadline
        (TrainingProgress(0, 10), 1, 1, 20, True),
        (TrainingProgress(12, 0), 1, 100, MONTH, False),  # at its end
        (TrainingProgress(12, -3), 1, 100, MONTH, False),  # longer than was thought
        (TrainingProgress(5, 5), 0, 1, MONTH, True),  # nobody waits for it any more
        (TrainingProgress(0, None), 5, 1, MONTH, True),
        (TrainingProgress(0.1, None), 5, 1, MONTH, None),
        (None, 5, 1, MONTH, None),
    ],
)
def test_when_starting_over_is_worth_it(
    progress: TrainingProgress | None,
    running: int,
    joining: int,
    slack: float,
    expected: bool | None,
) -> None:
    assert worth_superseding(progress, running=running, joining=joining, slack=slack) is expected


def test_superseding_is_decided_when_somebody_comes_or_progress_becomes_known() -> None:
    scheduler, asked = Scheduler(Policy(), 4), []

    def ask(constituent: AffectedConstituent) -> TrainingProgress | None:
        asked.append(constituent)
        return None if len(asked) < 3 else TrainingProgress(9, 1)

    scheduler.add(ticket("a", 0))
    scheduler.next(0, ask)
    scheduler.add(ticket("b", 0))
    assert [scheduler.next(1, ask) for _ in range(6)] == [[]] * 6
    assert asked == [0, 0, 0], "again while unknown, and not once it was told"
    for i in range(9):
        scheduler.add(ticket(f"c{i}", 0))
    assert [start.superseding for start in scheduler.next(2, ask)] == [True] and len(asked) == 4


def test_what_is_dropped_makes_superseding_cheaper() -> None:
    scheduler = Scheduler(Policy(), 1)
    for name in "abc":
        scheduler.add(ticket(name, 0))
    scheduler.next(0, unknown)
    scheduler.add(ticket("d", 0))
    assert scheduler.next(1, half) == []
    assert scheduler.drop("b") == (0,) and scheduler.drop("c") == (0,)
    assert scheduler.next(1, half) == [Start(0, ("a", "d"), True)]


def test_what_is_dropped_makes_superseding_everything_cheaper() -> None:
    scheduler = Scheduler(Policy(), 1)
    for name in "abc":
        scheduler.add(ticket(name, exclusive=True))
    scheduler.next(0, unknown)
    scheduler.add(ticket("d", 0))
    assert scheduler.next(1, half) == []
    scheduler.drop("b")
    scheduler.drop("c")
    assert scheduler.next(1, half) == [Start(None, ("a", "d"), True)]


def test_a_dropped_request_is_told_where_it_runs_and_its_runs_go_on() -> None:
    scheduler = Scheduler(Policy(), 4)
    scheduler.add(ticket("a", 3, 1))
    scheduler.next(0, unknown)
    assert scheduler.drop("a") == (1, 3) and scheduler.running == {1: (), 3: ()}
    scheduler.add(ticket("a", 3))  # brought back
    assert scheduler.finished(3) == () and scheduler.finished(1) == ()
    assert scheduler.next(0, unknown) == [Start(3, ("a",), False)]
    scheduler.drop("a")
    scheduler.finished(3)
    scheduler.add(ticket("b", exclusive=True))
    scheduler.next(0, unknown)
    assert scheduler.drop("b") == (None,) and scheduler.finished(None) == () and len(scheduler) == 0


def test_a_failed_run_is_taken_apart() -> None:
    scheduler = Scheduler(Policy(), 1)
    for name in "abc":
        scheduler.add(ticket(name, 0))
    scheduler.next(0, unknown)
    for name in scheduler.failed(0):
        scheduler.retaint(name)
    scheduler.add(ticket("d", 0, due=0))
    scheduler.add(ticket("e", 0))
    assert [start.requests for start in finish_all(scheduler, begun)] == [
        ("d", "e"),
        ("a",),
        ("b",),
        ("c",),
    ]


def test_nobody_joins_a_tainted_ticket_in_its_run() -> None:
    scheduler = Scheduler(Policy(), 2)
    scheduler.add(ticket("poisoned", 0, tainted=True))
    scheduler.add(ticket("shared", 1))
    scheduler.next(0, unknown)
    scheduler.retaint("shared")  # it failed elsewhere
    scheduler.add(ticket("a", 0, 1))
    assert scheduler.next(0, begun) == []
    scheduler.finished(0)
    scheduler.finished(1)
    assert [start.requests for start in scheduler.next(0, begun)] == [("a",)] * 2


def test_nobody_jumps_over_a_tainted_ticket_by_superseding() -> None:
    scheduler = Scheduler(Policy(), 1)
    scheduler.add(ticket("running", 0))
    scheduler.next(0, unknown)
    scheduler.add(ticket("poisoned", 0, at=1, tainted=True))
    scheduler.add(ticket("young", 0, at=2))
    assert scheduler.next(2, begun) == []
    scheduler.drop("poisoned")
    assert scheduler.next(2, begun) == [Start(0, ("running", "young"), True)]


def test_one_exclusive_run_takes_everything_alone() -> None:
    scheduler = Scheduler(Policy(), 4)
    scheduler.add(ticket("running", 0, at=0))
    scheduler.next(0, unknown)
    scheduler.add(ticket("all", exclusive=True, at=1))
    scheduler.add(ticket("poisoned", 1, at=2, tainted=True))
    scheduler.add(ticket("constituent", 0, 2, at=3))
    assert scheduler.next(1, begun) == [], (
        "nothing starts, and the run that is waited for is not superseded"
    )
    scheduler.finished(0)
    assert scheduler.next(1, begun) == [Start(None, ("all", "constituent"), False)]
    scheduler.add(ticket("new", 3, at=4))
    assert scheduler.next(2, near_end) == [], "the poisoned one comes before it"
    assert scheduler.finished(None) == ("all", "constituent")
    scheduler.relabel([ticket("new", 7, at=4), ticket("poisoned", 7, at=2, tainted=True)])
    assert [start.requests for start in finish_all(scheduler)] == [("poisoned",), ("new",)]
    assert scheduler.saved == 1


def test_an_exclusive_run_is_superseded_by_the_same_rule() -> None:
    scheduler = Scheduler(Policy(), 4)
    scheduler.add(ticket("all", exclusive=True))
    scheduler.next(0, unknown)
    scheduler.add(ticket("constituent", 0))
    assert scheduler.next(1, lambda _: TrainingProgress(9, 1)) == []
    assert scheduler.next(1, begun) == [], "nothing has changed"
    scheduler.add(ticket("other", exclusive=True))
    assert scheduler.next(1, half) == [Start(None, ("all", "constituent", "other"), True)]
    assert scheduler.failed(None) == ("all", "constituent", "other")
    scheduler.drop("all")
    assert scheduler.next(2, unknown) == [Start(0, ("constituent",), False)], (
        "constituents are constituents again"
    )


def test_without_coalescing_a_run_has_one_request() -> None:
    scheduler = Scheduler(Policy(coalesce=False), 2)
    for i in range(6):
        scheduler.add(ticket(f"r{i}", i % 2, exclusive=i == 5))
    first = scheduler.next(0, begun)
    scheduler.add(ticket("r6", 0))
    assert scheduler.next(0, begun) == [], "nothing is superseded either"
    starts = [*first, *finish_all(scheduler, begun)]
    assert [len(start.requests) for start in starts] == [1] * 7 and scheduler.saved == 0


def test_fewer_slots_stop_nothing() -> None:
    scheduler = Scheduler(Policy(), 3)
    for constituent in range(5):
        scheduler.add(ticket(f"r{constituent}", constituent))
    assert len(scheduler.next(0, unknown)) == 3
    scheduler.slots = 1
    scheduler.finished(0)
    scheduler.finished(1)
    assert scheduler.next(0, unknown) == []
    scheduler.finished(2)
    assert [start.constituent for start in scheduler.next(0, unknown)] == [3]


def test_misuse_is_told() -> None:
    scheduler = Scheduler(Policy(), 1)
    scheduler.add(ticket("a", 0))
    for wrong in (
        lambda: scheduler.add(ticket("a", 1)),
        lambda: scheduler.add(ticket("b")),
        lambda: scheduler.drop("c"),
        lambda: scheduler.retaint("c"),
        lambda: scheduler.finished(0),
        lambda: scheduler.failed(None),
        lambda: scheduler.relabel([]),
        lambda: scheduler.relabel([ticket("a")]),
        lambda: Scheduler(Policy(), 0),
        lambda: Scheduler(Policy(supersedes=-1), 1),
    ):
        with pytest.raises(ValueError, match=r"\w"):
            wrong()
    scheduler.next(0, unknown)
    with pytest.raises(ValueError, match="1 running"):
        scheduler.relabel([ticket("a", 0)])
    assert scheduler.finished(0) == ("a",), "nothing was changed by any of it"
