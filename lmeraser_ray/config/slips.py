"""Which known name was meant by one that nobody knows: only a slip of the fingers is guessed at.

>>> near("trian", ["train", "status"])
'train'
>>> near("version", ["diversity"]) is None
True
"""

from collections.abc import Iterable

LETTERS_A_SLIP, MOST = 3, 2
"""One slip is taken for likely in so many letters, and so many at most: a wrong guess misleads more
than none."""


def near(word: str, known: Iterable[str]) -> str | None:
    """Return the known name with the fewest slips, the first of several; None where all are too
    far."""
    most = min(MOST, len(word) // LETTERS_A_SLIP)
    counted = [(slips(word.lower(), name.lower()), name) for name in known]
    found = min(counted, key=lambda each: each[0], default=None)
    return found[1] if found and found[0] <= most else None


def guess(word: str, known: Iterable[str]) -> str:
    """Return `: did you mean …?` for what `near` finds, else nothing."""
    found = near(word[:80], known)
    return f": did you mean {found}?" if found else ""


def slips(a: str, b: str) -> int:
    """Return how many letters are wrong, missing, too many, or two that changed places (optimal
    string alignment)."""
    rows = [list(range(len(b) + 1))]
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, a[i - 2]) == (b[j - 2], other):
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]
