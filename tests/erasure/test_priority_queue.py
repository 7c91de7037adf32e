"""The priority queue behaves as a sorted dictionary, and keeps no more entries than it needs."""

from hypothesis import given
from hypothesis import strategies as st

from lmeraser_ray.erasure.queue.priority_queue import PriorityQueue


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
