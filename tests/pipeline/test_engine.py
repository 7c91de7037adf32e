"""An engine makes no more jobs than are soon begun, gives every result its place, and leaves
nothing under way behind."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.engine import (
    AHEAD,
    BUNDLES,
    LARGEST_BUNDLE,
    Engine,
    InlineEngine,
    Outcome,
    bundles,
)
from lmeraser_ray.pipeline.jobs import Worker
from lmeraser_ray.storage.store import Store


@dataclass(frozen=True)
class Square:
    """n → n²."""

    n: int
    weight: int = 1
    name = "square"
    key = None

    def run(self, _: Worker | None) -> int:
        return self.n**2


class Backwards(Engine):
    """Three slots; what was submitted last is done first; the unlucky number is an error."""

    slots = 3

    def __init__(self, unlucky: int | None = None) -> None:
        self.under, self.most, self.cancelled, self.unlucky = (
            dict[int, Square](),
            0,
            list[int](),
            unlucky,
        )

    def start(self) -> None: ...

    def features(self, parts: object) -> Iterator[tuple[int, int, object]]:  # type: ignore[override]
        yield from ()

    def submit(self, job: Square) -> int:  # type: ignore[override]
        self.under[job.n] = job
        self.most = max(self.most, len(self.under))
        return job.n

    def wait(self, seconds: float | None = None) -> list[Outcome]:
        ticket, job = self.under.popitem()
        return [
            Outcome(ticket, error=ExecutionError("unlucky"))
            if ticket == self.unlucky
            else Outcome(ticket, job.run(None))
        ]

    def cancel(self, ticket: int) -> None:
        self.cancelled.append(self.under.pop(ticket).n)

    def records(self, ticket: int) -> int:
        return 0

    def close(self) -> None: ...


def test_jobs_are_made_when_they_are_soon_begun() -> None:
    engine, made = Backwards(), 0

    def jobs() -> Iterator[Square]:
        nonlocal made
        for n in range(200):
            made += 1
            yield Square(n)

    results = engine.run(jobs())
    next(results)
    assert made == AHEAD * 3
    found = dict(results)
    assert made == 200 and engine.most == AHEAD * 3 and not engine.under and not engine.cancelled
    assert all(found[n] == n * n for n in range(AHEAD * 3 - 1)) and len(found) == 199


def test_no_jobs_are_no_results() -> None:
    assert list(Backwards().run([])) == []


@pytest.mark.parametrize("unlucky", [None, 40])
def test_what_nobody_waits_for_is_cancelled(unlucky: int | None) -> None:
    """Because the caller has heard enough, or because a job failed."""
    engine = Backwards(unlucky)
    results = engine.run(Square(n) for n in range(48))
    if unlucky is None:
        next(results)
        results.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(ExecutionError, match="unlucky"):
            list(results)
    assert not engine.under and sorted(engine.cancelled) == list(
        range(47 if unlucky is None else 40)
    )


def test_small_jobs_go_together_by_their_work_and_large_ones_alone() -> None:
    """In their order, none twice, and never more than `LARGEST_BUNDLE`."""
    jobs = [Square(n, weight) for n, weight in enumerate([90, 30, 10, 10, 10, *[1] * 40])]
    found = [[job.n for _, job in bundle] for bundle in bundles(enumerate(jobs), 30)]
    assert found == [[0], [1], [2, 3, 4], *([*range(at, min(at + 16, 45))] for at in (5, 21, 37))]
    assert LARGEST_BUNDLE == 16
    alone = [[at for at, _ in bundle] for bundle in bundles(enumerate(jobs), 0)]
    assert alone == [[n] for n in range(45)]


def test_jobs_that_go_together_each_have_their_result() -> None:
    """Of 240 jobs on three slots ten go together, at most `AHEAD` bundles a slot under way."""

    class Bundling(Backwards):
        sizes: list[int]

        def submit_together(self, jobs: Sequence[Square]) -> list[int]:  # type: ignore[override]
            self.sizes.append(len(jobs))
            return super().submit_together(jobs)

    engine = Bundling()
    engine.sizes = []
    found = dict(engine.run((Square(n) for n in range(240)), 240))
    assert found == {n: n * n for n in range(240)}
    assert engine.sizes == [10] * BUNDLES * engine.slots


@dataclass(frozen=True)
class Broken(Square):
    """A job with a defect, whose message names a record."""

    def run(self, _: Worker | None) -> int:
        raise RuntimeError("person-17 does not fit")


def test_what_nobody_expected_is_an_error_of_its_job_alone(tmp_path: Path) -> None:
    """In one process as on Ray: the queue counts it, and goes on. It names no record."""
    engine = InlineEngine(Store(tmp_path), Config(), None)  # type: ignore[arg-type]
    tickets = [engine.submit(Broken(1)), engine.submit(Square(3))]  # type: ignore[arg-type]
    [failed], [done] = engine.wait(), engine.wait()
    assert (failed.ticket, done.ticket, done.result) == (*tickets, 9)
    assert isinstance(failed.error, ExecutionError)
    assert "A job raised RuntimeError (test_engine.py, line" in str(failed.error)
    assert "person-17" not in str(failed.error)
