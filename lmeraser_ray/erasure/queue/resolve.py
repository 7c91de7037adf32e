"""From what a request names to the records that go. Subjects are resolved here, from the live records, never from a caller's list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmeraser_ray.erasure.queue.affected_constituents import Current
from lmeraser_ray.erasure.requests.request import Outcome, Target, What

Covers = Callable[[What, str], bool]


@dataclass(frozen=True)
class Resolved:
    """A request against the live records: the positions of those that go, ascending; what became of each target (as the targets)."""

    positions: tuple[int, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def unknown(self) -> int:
        """Targets that are neither here nor were erased."""
        return self.outcomes.count("unknown")


def resolve(current: Current, targets: Sequence[Target], covers: Covers) -> Resolved:
    """Find the records of targets whose names are known. covers: whether a name was erased before."""
    gone: set[int] = set()
    outcomes: list[Outcome] = []
    places = current.places(target.name for target in targets if target.what == "record" and target.name)
    for target in targets:
        name = target.name or ""
        found = current.index.of_subject(name) if target.what == "subject" else [places[name]] if name in places else []
        gone.update(found)
        outcomes.append("removed" if found else "already" if covers(target.what, name) else "unknown")
    return Resolved(tuple(sorted(gone)), tuple(outcomes))


def unknown_reason(unknown: int, targets: int) -> str:
    """Why a request is refused; its ids are not said, because the sentence is kept."""
    return f"{unknown} of {targets} ids are neither in the workspace nor erased before: nothing was changed. Correct the ids and try again."
