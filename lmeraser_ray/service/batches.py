"""Requests that come while others are answered are answered together, next.

    request, request, … → one call with the pictures of `most` requests → each its own outcomes

Nobody waits for others to come: where nothing is being answered, a request begins at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from lmeraser_ray.service.predictor import Outcome, answered_together

Waiting = tuple[Sequence[bytes], "asyncio.Future[Sequence[Outcome]]"]


class Batches:
    """Calls `answer` in a thread, one call at a time. For one event loop."""

    def __init__(self, answer: Callable[[Sequence[bytes]], Sequence[Outcome]], most: int) -> None:
        self._answer, self._most = answer, most
        self._waiting: deque[Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, pictures: Sequence[bytes]) -> Sequence[Outcome]:
        """Answer the pictures of one request. Errors: those of `answer`."""
        mine: asyncio.Future[Sequence[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append((pictures, mine))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await mine

    async def _work(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            asked = [pictures for pictures, _ in some]
            call = asyncio.ensure_future(asyncio.to_thread(answered_together, self._answer, asked))
            await asyncio.wait([call])
            error = call.exception()
            for at, (_, future) in enumerate(some):
                if future.done():  # a caller may be gone
                    continue
                if error is None:
                    future.set_result(call.result()[at])
                else:
                    future.set_exception(error)
