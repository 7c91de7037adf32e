"""Names that come twice are told, whether the first is long ago or not; nobody else is."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmeraser_ray.data import duplicates as seen
from lmeraser_ray.data.duplicates import DuplicateFinder, common


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 9))
def test_as_a_set_would(names: list[int], together: int) -> None:
    """Told at the latest at the end, and with where it was found again."""
    found = DuplicateFinder(together)
    told = (
        next(
            (hit for at, name in enumerate(names) if (hit := found.add(str(name), f"row {at}"))),
            None,
        )
        or found.settle()
    )
    twice = {str(name) for name, count in Counter(names).items() if count > 1}
    assert (told is not None) == bool(twice)
    if told:
        assert (
            told[0] in twice
            and names[int(told[1][4:])] == int(told[0])
            and int(told[0]) in names[: int(told[1][4:])]
        )


def test_half_a_match_is_none() -> None:
    """Digests with the same first half, one of them the same altogether."""
    old = np.array([[1, 5], [7, 1], [7, 2], [7, 3]], np.uint64)
    assert list(common(old, np.array([[7, 9], [7, 2], [1, 4], [8, 1]], np.uint64))) == [1]


def test_it_is_small() -> None:
    """16 bytes a name, once it is settled."""
    found = DuplicateFinder(64)
    for at in range(1000):
        assert found.add(f"a rather long name {at}", "here") is None
    assert found.settle() is None
    assert sum(part.nbytes for part in found._old) == 16_000 and not found._fresh


def test_what_is_told_depends_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison with what is settled, a name that comes again is lost."""
    monkeypatch.setattr(seen, "common", lambda old, fresh: iter(()))
    found = DuplicateFinder(2)
    assert [found.add(name, "") for name in ("a", "b", "a")] == [
        None,
        None,
        None,
    ] and found.settle() is None
