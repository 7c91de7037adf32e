"""The scheduler against a slow model of its rules, under random interleavings; then each bound that
it promises, by itself."""

from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lmeraser_ray.erasure.queue import priority_queue
from lmeraser_ray.erasure.queue.priority_queue import PriorityQueue
from lmeraser_ray.erasure.queue.scheduler import (
    AffectedConstituent,
    Policy,
    Scheduler,
    Start,
    Ticket,
    TrainingProgress,
    worth_superseding,
)

MONTH = 30 * 86400.0
LANES = st.integers(0, 4)


def unknown(_: AffectedConstituent) -> None:
    """Nothing is known of any run."""


def half(_: AffectedConstituent) -> TrainingProgress:
    """Every run is half done."""
    return TrainingProgress(5, 5)


def begun(_: AffectedConstituent) -> TrainingProgress:
    """Every run has just begun."""
    return TrainingProgress(0, 10)


def near_end(_: AffectedConstituent) -> TrainingProgress:
    """No run is worth superseding."""
    return TrainingProgress(1e6, 1e-6)


def ticket(
    request: str,
    *constituents: int,
    at: float = 0.0,
    due: float = MONTH,
    exclusive: bool = False,
    tainted: bool = False,
) -> Ticket:
    return Ticket(request, at, due, frozenset(constituents), exclusive, tainted)


class Run:
    """What the model knows of a run. whole: its seconds; known: whether progress tells."""

    def __init__(self, requests: Iterable[str], since: int, whole: int, known: str) -> None:
        self.requests, self.since, self.whole, self.known, self.restarts = (
            set(requests),
            since,
            whole,
            known,
            0,
        )


class Machine(RuleBasedStateMachine):
    """The scheduler, and beside it the rules written down as sets that are searched from end to
    end."""

    @initialize(
        coalesce=st.sampled_from([True, True, True, False]),
        supersedes=st.integers(0, 2),
        slots=st.integers(1, 4),
    )
    def begin(self, coalesce: bool, supersedes: int, slots: int) -> None:
        self.policy, self.slots = Policy(coalesce=coalesce, supersedes=supersedes), slots
        self.scheduler = Scheduler(self.policy, slots)
        self.now = self.count = self.superseded = self.saved = 0
        self.tickets: dict[str, Ticket] = {}
        self.tainted: set[str] = set()
        self.done: dict[str, set[int]] = {}  # constituents, by request
        self.runs: dict[AffectedConstituent, Run] = {}
        self.order: dict[str, int] = {}
        self.ended: Counter[str] = Counter()
        self.added: set[str] = set()

    # the rules, searched from end to end

    def key(self, request: str) -> tuple[float, float, int]:
        return self.tickets[request].due, self.tickets[request].received, self.order[request]

    def running_for(self, request: str) -> set[AffectedConstituent]:
        return {constituent for constituent, run in self.runs.items() if request in run.requests}

    def waiting_lanes(self, request: str) -> set[AffectedConstituent]:
        if None in (on := self.running_for(request)):
            return set()
        return (
            {None}
            if self.tickets[request].exclusive
            else set(self.tickets[request].constituents) - self.done[request] - on
        )

    def waiting(self, constituent: AffectedConstituent) -> list[str]:
        """Who waits for this constituent, in order; for None, who waits at all."""
        where = {name: self.waiting_lanes(name) for name in self.tickets}
        return sorted(
            (
                name
                for name, constituents in where.items()
                if (constituents if constituent is None else constituent in constituents)
            ),
            key=self.key,
        )

    def group(self, constituent: AffectedConstituent) -> set[str]:
        first, *rest = self.waiting(constituent)
        if first in self.tainted or not self.policy.coalesce:
            return {first}
        return {first, *(name for name in rest if name not in self.tainted)}

    def exclusive_first(self) -> bool:
        waiting = self.waiting(None)
        return bool(waiting) and self.tickets[waiting[0]].exclusive

    def startable(self) -> list[int]:
        """Constituents that could start, in the order of their first tickets."""
        constituents = {
            constituent
            for name in self.tickets
            for constituent in self.waiting_lanes(name)
            if constituent is not None and constituent not in self.runs
        }
        return sorted(
            constituents,
            key=lambda constituent: (self.key(self.waiting(constituent)[0]), constituent),
        )

    def progress(self, constituent: AffectedConstituent) -> TrainingProgress | None:
        run = self.runs[constituent]
        elapsed = self.now - run.since
        if run.known == "nothing":
            return None
        return TrainingProgress(
            elapsed, max(run.whole - elapsed, 0) if run.known == "all" else None
        )

    def should_supersede(self, constituent: AffectedConstituent) -> bool:
        run, waiting = self.runs[constituent], self.waiting(constituent)
        if (
            not self.policy.coalesce
            or not waiting
            or waiting[0] in self.tainted
            or run.requests & self.tainted
        ):
            return False
        if run.restarts >= self.policy.supersedes or (
            None not in self.runs and self.exclusive_first()
        ):
            return False
        joining = len(self.group(constituent))
        elapsed = self.now - run.since
        if run.known != "all":
            return run.known == "elapsed" and elapsed == 0
        whole = max(run.whole, elapsed)
        slack = (
            min((self.tickets[name].due for name in run.requests), default=float("inf")) - self.now
        )
        return slack >= 2 * whole and (whole - elapsed) * (1 + joining) > elapsed * len(
            run.requests
        )

    # what may happen

    @rule(
        constituents=st.frozensets(LANES, min_size=1, max_size=3),
        due=st.sampled_from([1, 10, 40, 200, 200, 200]),
        exclusive=st.sampled_from([False] * 5 + [True]),
        tainted=st.sampled_from([False, False, True]),
    )
    def add(self, constituents: frozenset[int], due: int, exclusive: bool, tainted: bool) -> None:
        name = f"r{self.count}"
        self.count += 1
        found = Ticket(name, self.now, self.now + due, constituents, exclusive, tainted)
        self.scheduler.add(found)
        self.hold(found, self.count)
        self.added.add(name)

    def hold(self, found: Ticket, order: int) -> None:
        self.tickets[found.request], self.order[found.request], self.done[found.request] = (
            found,
            order,
            set(),
        )
        (self.tainted.add if found.tainted else self.tainted.discard)(found.request)

    @rule(seconds=st.integers(0, 6))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        whole=st.integers(0, 12), known=st.sampled_from(["all", "all", "all", "elapsed", "nothing"])
    )
    def start(self, whole: int, known: str) -> None:
        expected = {constituent for constituent in self.runs if self.should_supersede(constituent)}
        starts = self.scheduler.next(self.now, self.progress)
        assert {start.constituent for start in starts if start.superseding} == expected
        for start in starts:
            self.check_and_do(start, whole, known)
        if None not in self.runs and len(self.runs) < self.slots:
            assert (
                (self.runs and self.exclusive_first())
                or not self.waiting(None)
                or not self.startable()
            ), "idle, with something to do"

    def check_and_do(self, start: Start, whole: int, known: str) -> None:
        """Whether this start is the one that the rules ask for; then do it in the model."""
        group = self.group(start.constituent)
        assert list(start.requests) == sorted(start.requests, key=self.key)
        if start.superseding:
            run = self.runs[start.constituent]
            assert set(start.requests) == run.requests | group
            run.requests, run.since, run.whole, run.known = (
                set(start.requests),
                self.now,
                whole,
                known,
            )
            run.restarts += 1
            self.superseded += 1
            return
        assert (
            len(self.runs) < self.slots
            and start.constituent not in self.runs
            and None not in self.runs
        )
        if start.constituent is None:
            assert self.exclusive_first() and not self.runs
        else:
            assert not self.exclusive_first() and self.startable()[0] == start.constituent
        assert set(start.requests) == group and (len(group) == 1 or not group & self.tainted)
        self.runs[start.constituent] = Run(group, self.now, whole, known)

    @precondition(lambda self: self.runs)
    @rule(choice=st.integers(0, 100))
    def finish(self, choice: int) -> None:
        constituent = list(self.runs)[choice % len(self.runs)]
        run = self.runs.pop(constituent)
        self.saved += len(run.requests) - 1
        complete = set()
        for name in run.requests:
            self.done[name] |= (
                set(self.tickets[name].constituents) if constituent is None else {constituent}
            )
            if constituent is None or self.done[name] >= self.tickets[name].constituents:
                complete.add(name)
        assert set(self.scheduler.finished(constituent)) == complete
        for name in complete:
            self.forget(name)

    @precondition(lambda self: self.runs)
    @rule(choice=st.integers(0, 100), taint=st.booleans())
    def fail(self, choice: int, taint: bool) -> None:
        constituent = list(self.runs)[choice % len(self.runs)]
        run = self.runs.pop(constituent)
        assert set(self.scheduler.failed(constituent)) == run.requests
        for name in sorted(run.requests) if taint else []:
            self.scheduler.retaint(name)
            self.tainted.add(name)

    @precondition(lambda self: self.tickets)
    @rule(choice=st.integers(0, 100))
    def drop(self, choice: int) -> None:
        name = list(self.tickets)[choice % len(self.tickets)]
        assert set(self.scheduler.drop(name)) == self.running_for(name)
        for run in self.runs.values():
            run.requests.discard(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        self.ended[name] += 1
        del self.tickets[name], self.order[name], self.done[name]
        self.tainted.discard(name)

    @precondition(lambda self: self.runs)
    @rule()
    def learn(self) -> None:
        """What runs can now tell how far it is."""
        for run in self.runs.values():
            run.known = "all"

    @precondition(lambda self: not self.runs)
    @rule(by=st.integers(1, 4), exclusive=st.booleans())
    def renumber(self, by: int, exclusive: bool) -> None:
        """A re-clustering was published: an exclusive ticket may need one shard now, or the other
        way         round."""
        names = sorted(self.tickets, key=self.key, reverse=True)
        anew = []
        for name in names:
            old = self.tickets[name]
            constituents = frozenset((constituent + by) % 5 for constituent in old.constituents)
            anew.append(
                Ticket(
                    name,
                    old.received,
                    old.due,
                    constituents,
                    old.exclusive != exclusive,
                    name in self.tainted,
                )
            )
        self.scheduler.relabel(anew)
        for found in anew:
            self.hold(found, self.order[found.request])

    @precondition(lambda self: self.runs)
    @rule()
    def settle(self) -> None:
        """Everything that runs finishes."""
        while self.runs:
            self.finish(0)

    # what always holds

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "runs"):
            assert {
                constituent: set(requests)
                for constituent, requests in self.scheduler.running.items()
            } == {constituent: run.requests for constituent, run in self.runs.items()}
            assert len(self.scheduler) == len(self.tickets)
            assert self.scheduler.waiting == len(self.waiting(None))
            assert len(self.runs) <= self.slots and (None not in self.runs or len(self.runs) == 1)
            assert (
                self.scheduler.superseded == self.superseded
                and self.scheduler.saved == self.saved - self.superseded
            )
            assert all(run.restarts <= self.policy.supersedes for run in self.runs.values())

    def teardown(self) -> None:
        """Nothing was lost: what was not dropped finishes, once."""
        if not hasattr(self, "runs"):
            return
        turns = 5 * sum(len(held.constituents) + 1 for held in self.tickets.values()) + 10
        while self.tickets and turns:
            turns -= 1
            self.start(1, "all")
            self.settle()
        assert (
            not self.tickets and set(self.ended) == self.added and set(self.ended.values()) <= {1}
        )


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


def finish_all(
    scheduler: Scheduler,
    progress: Callable[[AffectedConstituent], TrainingProgress | None] = near_end,
    *,
    now: float = 0.0,
) -> list[Start]:
    """Start and finish until nothing is left. Returns the starts."""
    starts = []
    while len(scheduler):
        found = scheduler.next(now, progress)
        assert found or scheduler.running, "stuck"
        starts += found
        for constituent in scheduler.running:
            scheduler.finished(constituent)
    return starts


@settings(max_examples=20, deadline=None)
@given(
    st.randoms(use_true_random=False),
    st.integers(0, 20),
    st.integers(1, 64),
    st.sampled_from([begun, half, near_end, unknown]),
)
def test_a_thousand_requests_on_twenty_lanes_need_twenty_runs_and_those_in_flight(
    rng, flying: int, slots: int, progress
) -> None:
    scheduler = Scheduler(Policy(), slots)
    for constituent in range(flying):
        scheduler.add(ticket(f"flying-{constituent}", constituent))
    before = scheduler.next(0.0, progress)
    for i in range(1000):
        scheduler.add(ticket(f"r{i}", rng.randrange(20), at=1.0))
    runs = [*before, *finish_all(scheduler, progress, now=1.0)]
    assert len(runs) <= 20 + len(before)
    assert scheduler.retrains == len(runs) and scheduler.saved == 1000 + flying - len(runs)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 4), st.lists(st.integers(0, 3), min_size=12, max_size=12), st.booleans())
def test_a_steady_stream_restarts_a_run_a_bounded_number_of_times(
    supersedes: int, stream: list[int], everything: bool
) -> None:
    """The worst stream: at each moment somebody comes, and the run has always just begun, so that
    starting over is always worth it."""
    scheduler, restarts = Scheduler(Policy(supersedes=supersedes), 1), 0
    scheduler.add(ticket("first", 0, exclusive=everything))
    scheduler.next(0.0, begun)
    for i, newcomers in enumerate(stream):
        for j in range(newcomers):
            scheduler.add(ticket(f"{i}-{j}", 0, at=i))
        found = scheduler.next(float(i), begun)
        assert bool(found) == (newcomers > 0 and restarts < supersedes)
        restarts += len(found)
    assert restarts == min(supersedes, sum(newcomers > 0 for newcomers in stream))
    assert "first" in scheduler.finished(None if everything else 0)


def until_started(
    scheduler: Scheduler,
    name: str,
    arrivals: Callable[[int], list[Ticket]],
    *,
    whole: int,
    limit: int,
) -> int:
    """Step the clock by a second, with arrivals at each, every run taking `whole` seconds, until
    `name` runs. Returns the seconds."""
    since: dict[AffectedConstituent, int] = {}

    def progress(constituent: AffectedConstituent) -> TrainingProgress:
        return TrainingProgress(now - since[constituent], whole - (now - since[constituent]))

    for now in range(limit):
        for constituent in [
            constituent for constituent, start in since.items() if now - start >= whole
        ]:
            del since[constituent]
            scheduler.finished(constituent)
        for arriving in arrivals(now):
            scheduler.add(arriving)
        for start in scheduler.next(float(now), progress):
            since[start.constituent] = now
            if name in start.requests:
                return now
    raise AssertionError(f"{name} had not started after {limit} s")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 3),
    st.randoms(use_true_random=False),
)
def test_a_stream_of_lanes_does_not_starve_an_exclusive_ticket(
    slots: int, whole: int, before: int, supersedes: int, rng
) -> None:
    scheduler = Scheduler(Policy(supersedes=supersedes), slots)
    for i in range(before):
        scheduler.add(ticket(f"before-{i}", rng.randrange(6), tainted=rng.random() < 0.3))
    scheduler.add(ticket("everything", exclusive=True, at=0.5, due=MONTH + 0.5))

    def arrivals(now: int) -> list[Ticket]:
        return [
            ticket(f"{now}-{i}", rng.randrange(6), at=now + 1, due=MONTH + now + 1)
            for i in range(3)
        ]

    until_started(
        scheduler,
        "everything",
        arrivals,
        whole=whole,
        limit=(2 * before + 2) * (supersedes + 1) * whole + 1,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_a_stream_of_exclusive_tickets_does_not_starve_a_lane(
    slots: int, whole: int, tainted: bool, before: int, supersedes: int
) -> None:
    scheduler = Scheduler(Policy(supersedes=supersedes), slots)
    for i in range(before):
        scheduler.add(ticket(f"before-{i}", exclusive=True, tainted=i % 2 == 1))
    scheduler.add(ticket("constituent", 3, at=0.5, due=MONTH + 0.5, tainted=tainted))

    def arrivals(now: int) -> list[Ticket]:
        return [
            ticket(f"{now}-{i}", exclusive=True, at=now + 1, due=MONTH + now + 1) for i in range(2)
        ]

    until_started(
        scheduler,
        "constituent",
        arrivals,
        whole=whole,
        limit=(2 * before + 2) * (supersedes + 1) * whole + 1,
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_stream_on_its_lane_does_not_starve_a_tainted_ticket(
    slots: int, whole: int, supersedes: int, rng
) -> None:
    scheduler = Scheduler(Policy(supersedes=supersedes), slots)
    scheduler.add(ticket("before", 0))
    scheduler.add(ticket("poisoned", 0, at=0.5, due=MONTH + 0.5, tainted=True))

    def arrivals(now: int) -> list[Ticket]:
        return [
            ticket(f"{now}-{i}", rng.randrange(2), at=now + 1, due=MONTH + now + 1)
            for i in range(2)
        ]

    until_started(
        scheduler, "poisoned", arrivals, whole=whole, limit=4 * (supersedes + 1) * whole + 1
    )


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


def test_the_work_of_a_request_does_not_grow_with_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Heap operations and swept entries a request, at two sizes of the queue."""

    def cost(constituents: int, requests: int) -> float:
        done = Counter[str]()
        for name in ("heappush", "heappop", "heapify"):
            real = getattr(priority_queue, name)

            def counting(heap: list, *entry: object, real=real, name=name) -> object:
                done[name] += len(heap) if name == "heapify" else 1
                return real(heap, *entry)

            monkeypatch.setattr(priority_queue, name, counting)
        scheduler = Scheduler(Policy(), 8)
        for i in range(requests):
            scheduler.add(
                ticket(
                    f"r{i}", i * 7919 % constituents, at=i, due=MONTH + i, exclusive=i % 1000 == 999
                )
            )
            for constituent in list(scheduler.running)[:1] if i % 4 == 0 else []:
                scheduler.finished(constituent)
            scheduler.next(float(i), half)
        finish_all(scheduler, half)
        monkeypatch.undo()
        return sum(done.values()) / requests

    small, large = cost(50, 2000), cost(500, 20_000)
    assert large < 1.3 * small < 30, (small, large)


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 9)))))
def test_a_line_is_a_sorted_dictionary(steps: list[tuple[int, int | None]]) -> None:
    queue: PriorityQueue[int] = PriorityQueue()
    model: dict[int, tuple[float, float, int]] = {}
    for member, due in steps:
        if due is None:
            queue.discard(member)
            model.pop(member, None)
        else:
            model[member] = (due, 0.0, 0)
            queue.put(member, model[member])
        ordered = sorted((key, name) for name, key in model.items())
        assert queue.first() == (ordered[0] if ordered else None)
        assert len(queue) == len(model) and (member in queue) == (member in model)
        assert sorted(queue.members()) == sorted(model) and [
            model[name] for name in queue.members()
        ] == [key for key, _ in ordered]


def test_a_line_keeps_no_more_than_it_needs() -> None:
    queue: PriorityQueue[int] = PriorityQueue()
    for i in range(10_000):
        queue.put(i % 10, (i, 0.0, i))
        assert len(queue._heap) <= 36
