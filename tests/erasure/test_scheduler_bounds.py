"""The bounds that the scheduler promises: how many runs a burst of requests needs, how often a run
starts over, how long a stream of others can delay a ticket, and the work for each request."""

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.erasure.queue import priority_queue
from lmeraser_ray.erasure.queue.scheduler import (
    AffectedConstituent,
    Policy,
    Scheduler,
    Ticket,
    TrainingProgress,
)
from tests.support.scheduling import MONTH, begun, finish_all, half, near_end, ticket, unknown


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
