"""Whether what clients were answered could have been answered one call after the other.

    calls (who asked what, when, and was answered what) ─► linearizable(calls, model, start)

A call takes effect at one moment between its invocation and its return (Herlihy and Wing, 1990).
The search is Wing and Gong's, with the memory of Lowe: a set of calls that took effect, together
with the state that they lead to, is tried once. Calls about different requests commute, so each
request is checked alone (P-compositionality).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lmeraser_ray.erasure.requests.request import State

S = TypeVar("S")
REFUSED, STALE = "refused", "stale"
"""Answers of calls that changed nothing: the state did not allow it; the lease was lost."""


@dataclass(frozen=True)
class Call:
    """One call. key: the idempotency key of the request that it is about; invoked, returned:
    nanoseconds of the machine's one clock, `returned` is None where no answer came; answer: the
    request's id, its state and extension as text, or one of `REFUSED` and `STALE`."""

    client: str
    verb: str
    key: str
    invoked: int
    returned: int | None = None
    answer: object = None


Model = Callable[[S, Call], tuple[S, object]]
"""The next state, and the answer that is right."""


def linearizable(calls: Sequence[Call], model: Model[S], start: S) -> bool:
    """Whether the calls have an order that agrees with their times and in which each answer is
    right. A call without an answer took effect at any later moment, or never."""
    answered = sum(1 << at for at, call in enumerate(calls) if call.returned is not None)
    stack, tried = [(0, start)], set[tuple[int, S]]()
    while stack:
        done, state = stack.pop()
        if done & answered == answered:
            return True
        for step in steps(calls, model, done, state, answered & ~done):
            if step not in tried:
                tried.add(step)
                stack.append(step)
    return False


def steps(
    calls: Sequence[Call], model: Model[S], done: int, state: S, waiting: int
) -> list[tuple[int, S]]:
    """What may come next: the calls that took effect then, and their state. waiting: the calls that
    still need an effect. A call that changes nothing and has the right answer is taken at once,
    alone: it stands in nobody's way."""
    first = min(call.returned or 0 for at, call in enumerate(calls) if waiting >> at & 1)
    found = []
    for at, call in enumerate(calls):
        if done >> at & 1 or call.invoked > first:
            continue  # another call had returned before this one began
        after, answer = model(state, call)
        step = (done | 1 << at, after)
        if call.returned is None:
            found.append(step)
        elif answer == call.answer and after == state:
            return [step]
        elif answer == call.answer:
            found.append(step)
    return found


@dataclass(frozen=True)
class RequestModel:
    """A request as one who asks one thing after the other sees it. state: None before it is
    submitted."""

    id: str | None = None
    state: State | None = None
    extended: bool = False

    @property
    def seen(self) -> str:
        """What a look at the request shows."""
        return f"{self.state}{' extended' if self.extended else ''}"


MOVES: dict[str, tuple[tuple[State, ...], State]] = {
    "cancel": ((State.RECEIVED,), State.CANCELLED),
    "refuse": ((State.RECEIVED, State.PLANNED, State.FAILED), State.REFUSED),
    "retry": ((State.FAILED,), State.RECEIVED),
    "plan": ((State.RECEIVED,), State.PLANNED),
    "begin": ((State.PLANNED,), State.TRAINING),
    "replan": ((State.TRAINING,), State.PLANNED),
    "publish": ((State.PLANNED, State.TRAINING), State.PUBLISHED),
    "purge": ((State.PUBLISHED,), State.PURGED),
    "certify": ((State.PURGED,), State.CERTIFIED),
    "fail": ((State.RECEIVED, State.PLANNED, State.TRAINING), State.FAILED),
}
"""The table of `lmeraser_ray/erasure/requests/request.py`: from where a verb leads where."""


def life(request: RequestModel, call: Call) -> tuple[RequestModel, object]:
    """The sequential model of a request's life."""
    if call.answer == STALE:
        return request, STALE
    if call.verb == "submit" and request.state is None:
        made = None if call.answer is None else str(call.answer)
        full = call.answer == REFUSED  # the submitter's quota: `tests/histories` checks it
        return (request if full else RequestModel(made, State.RECEIVED)), call.answer
    if request.state is None:
        return request, REFUSED
    if call.verb == "submit":
        known = request.id or call.answer  # unknown after a call without an answer
        return replace(request, id=None if known is None else str(known)), known
    if call.verb == "look":
        return request, request.seen
    if call.verb == "extend":
        if request.state.is_answered or request.extended:
            return request, REFUSED
        request = replace(request, extended=True)
        return request, request.seen
    sources, goal = MOVES[call.verb]
    if request.state not in sources:
        return request, REFUSED
    request = replace(request, state=goal)
    return request, request.seen


def by_request(calls: Iterable[Call]) -> dict[str, list[Call]]:
    """The calls about each request."""
    found: defaultdict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.invoked):
        found[call.key].append(call)
    return dict(found)


def impossible(calls: Iterable[Call]) -> list[str]:
    """The story of each request whose answers no order explains."""
    return [
        "\n".join(
            f"{call.invoked} to {call.returned}: {call.client} {call.verb} → {call.answer}"
            for call in about
        )
        for about in by_request(calls).values()
        if not linearizable(about, life, RequestModel())
    ]
