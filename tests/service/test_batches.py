"""Requests share calls, and nothing else."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from lmeraser_ray.errors import DataError
from lmeraser_ray.service.batches import Batches
from lmeraser_ray.service.predictor import Outcome, Unusable


class Gated:
    """Answers each picture with its own name, once it may."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.begun, self.may = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, pictures: Sequence[bytes]) -> Sequence[Outcome]:
        self.calls.append(len(pictures))
        self.begun.release()
        assert self.may.acquire(timeout=60)
        if b"bad" in pictures:
            raise DataError("nothing can answer")
        return [Unusable(picture.decode()) for picture in pictures]


async def share(gated: Gated) -> None:
    batches = Batches(gated, most=3)
    first = asyncio.create_task(batches([b"a"]))
    assert await asyncio.to_thread(gated.begun.acquire, timeout=60)
    rest = [asyncio.create_task(batches([f"{at}".encode(), b"x"])) for at in range(7)]
    await asyncio.sleep(0)
    rest[4].cancel()  # a caller that has gone
    for _ in range(9):
        gated.may.release()
    found = await asyncio.gather(first, *rest, return_exceptions=True)
    assert found[0] == [Unusable("a")]
    for at, one in enumerate(found[1:]):
        if at == 4:
            assert isinstance(one, asyncio.CancelledError)
        else:
            assert one == [Unusable(f"{at}"), Unusable("x")]
    assert gated.calls == [1, 6, 6, 2]


def test_who_comes_meanwhile_is_answered_together() -> None:
    """At most so many requests at a time; one that has gone holds nobody up."""
    asyncio.run(share(Gated()))


def test_an_error_is_each_requests_own_and_the_next_are_answered() -> None:
    gated = Gated()

    async def ask() -> None:
        batches = Batches(gated, most=2)
        for _ in range(3):
            gated.may.release()
        with pytest.raises(DataError, match="nothing can answer"):
            await batches([b"bad"])
        assert await batches([b"good"]) == [Unusable("good")]
        assert await batches([]) == []

    asyncio.run(ask())
    assert gated.calls == [1, 1, 0]
