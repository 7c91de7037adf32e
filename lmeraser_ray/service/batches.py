"""Requests that come while others are answered are answered together, next.

    request, request, … → one call with the pictures of `most` requests → each its own outcomes

Nobody waits for others to come: where nothing is being answered, a request begins at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from lmeraser_ray.service.predictor import Outcome

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
            every = [picture for pictures, _ in some for picture in pictures]
            call = asyncio.ensure_future(asyncio.to_thread(self._answer, every))
            await asyncio.wait([call])
            at = 0
            for pictures, future in some:
                end = at + len(pictures)
                if not future.done():  # a caller may be gone
                    error = call.exception()
                    if error is None:
                        future.set_result(call.result()[at:end])
                    else:
                        future.set_exception(error)
                at = end
