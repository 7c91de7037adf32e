"""The pattern set of a scan: what to look for, and which occurrences are explained by live data.

    traces + subjects → binary patterns and texts → (learn the live names)
        → judge each match: a trace, or explained

An id may be part of a longer live id, or of a live label: `person-1` is in `person-12`. So the live
names that contain an erased id are learned first, and an occurrence within such a name is explained
by it; the same holds for what the manifest says, and for a longer id that is erased too and has an
owner of its own. An id that identifies nobody by itself (`1`,
`cat`, a date), or that is a word of our own files (`record_id`), is looked for in rows only. Each
pattern has its owners: a trace that is found holds back the erasure of these records alone.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from lmeraser_ray.erasure.absence.pattern_search import Match, Search
from lmeraser_ray.erasure.absence.skeletons import skeletons
from lmeraser_ray.erasure.absence.traces import Trace, Traces, telling


@dataclass(frozen=True, slots=True)
class Text:
    """A text to look for. apart: a match counts only where no letter or digit is next to it."""

    trace: Trace
    apart: bool


class PatternSet:
    """The patterns of one scan. ids, subjects, digests: values that no live row may have, the
    digests with the ids of their records; common: patterns that our own files have anyway."""

    def __init__(self, traces: Sequence[Traces], subjects: Collection[str]) -> None:
        self.ids = frozenset(each.record_id for each in traces)
        self.subjects = frozenset(subjects) | {
            each.subject_id for each in traces if each.subject_id is not None
        }
        self.digests: dict[bytes, set[str]] = {}
        for each in traces:
            self.digests.setdefault(each.digest, set()).add(each.record_id)
        binary = binary_patterns(traces)
        self._texts = texts_of(self.ids, self.subjects)
        self._binary = list(binary.values())
        self.search = Search(list(binary), list(self._texts))
        self._kinds = list(self._texts.values())
        self._shown = [*binary, *self._texts]
        self._owners = owners_of(traces, self.ids | self.subjects)
        self._contexts: dict[int, dict[tuple[int, int], set[tuple[bytes, bytes]]]] = {}

        self.common = frozenset(
            match.pattern for match in self.search.in_bytes(skeletons()) if not self._apart(match)
        )

    def in_rows_only(self, names: Collection[str]) -> int:
        """Return how many of these ids and subjects are not looked for in bytes."""
        common = {self._shown[pattern] for pattern in self.common}
        return sum(telling(name) == "no" or bool(forms(name) & common) for name in names)

    def owners(self, pattern: int) -> frozenset[str]:
        """Return the ids and subjects that a pattern is a trace of."""
        return frozenset(self._owners[self._shown[pattern]])

    def trace_of(self, pattern: int) -> Trace:
        """Return the kind of trace that a pattern is."""
        binary = len(self._binary)
        return self._binary[pattern] if pattern < binary else self._kinds[pattern - binary].trace

    def trace(self, match: Match) -> Trace:
        """Return the kind of trace that was found."""
        return self.trace_of(match.pattern)

    def size(self, match: Match) -> int:
        """Return how many bytes were found."""
        return len(self._shown[match.pattern])

    def is_text(self, match: Match) -> bool:
        """Whether an id or a subject was found."""
        return match.pattern >= len(self._binary)

    def is_window(self, match: Match) -> bool:
        """Whether a window of a picture or of features was found, which several records may
        have."""
        return self.trace(match) in ("picture", "pixels", "feature")

    def occurs(self, text: bytes) -> bool:
        """Whether one of the ids may occur in names that lie one after the other in `text`; False
        is certain."""
        return bool(self._texts) and (
            not plain(text) or any(self.search.in_bytes(text, binary=False))
        )

    def learn(self, names: Iterable[str], *, longer: bool = False) -> None:
        """Note the live ids, subjects or labels in which an erased id occurs. longer: only where it
        is a part of a longer word or number."""
        if not self._texts:
            return
        listed = set(names)  # none has a line break (`data.ids`)
        joined = "\n".join(listed).encode()
        if not plain(joined):
            joined = b"\n".join({form for name in listed for form in forms(name)})
        for match in self.search.in_bytes(joined, binary=False):
            before, after = match.before.rpartition(b"\n")[2], match.after.partition(b"\n")[0]
            if longer and not (alphanumeric(before[-1:]) or alphanumeric(after[:1])):
                continue
            by_length = self._contexts.setdefault(match.pattern, {})
            by_length.setdefault((len(before), len(after)), set()).add((before, after))

    def _apart(self, match: Match) -> bool:
        """Whether a match is a number or a word within a longer one."""
        return (
            self.is_text(match)
            and self._kinds[match.pattern - len(self._binary)].apart
            and (alphanumeric(match.before[-1:]) or alphanumeric(match.after[:1]))
        )

    def explained(self, match: Match) -> bool:
        """Whether a match is a word of our own files, or an id or a subject within something
        longer: a live name, a number, or a word."""
        if match.pattern in self.common or self._apart(match):
            return True
        if not self.is_text(match):
            return False
        before, after = match.before, match.after
        around = self._contexts.get(match.pattern, {})
        return any(
            (before[max(0, len(before) - a) :], after[:b]) in pairs
            for (a, b), pairs in around.items()
        )

    def is_within(self, match: Match, words: Collection[str]) -> bool:
        """Whether a match is an id that is one of these words or a part of one."""
        return any(self._shown[match.pattern] in form for word in words for form in forms(word))

    def masked(self, text: str) -> str:
        """Return a file's name with every pattern in it replaced by `***`."""
        data = text.encode(errors="surrogateescape")
        for match in sorted(
            self.search.in_bytes(data), key=lambda match: -len(self._shown[match.pattern])
        ):
            data = data.replace(self._shown[match.pattern], b"***")
        return data.decode(errors="replace")


def owners_of(traces: Sequence[Traces], names: Collection[str]) -> dict[bytes, set[str]]:
    """Return for each pattern the records and subjects that it is a trace of."""
    found: dict[bytes, set[str]] = {}
    for each in traces:
        for pattern in binary_patterns([each]):
            found.setdefault(pattern, set()).add(each.record_id)
    for name in names:
        for form in forms(name):
            found.setdefault(form, set()).add(name)
    return found


def binary_patterns(traces: Sequence[Traces]) -> dict[bytes, Trace]:
    """Return digests, also as hexadecimal digits, and windows; a pattern that several records share
    is there once."""
    found: dict[bytes, Trace] = {}
    for each in traces:
        found[each.digest] = "digest"
        found[each.digest.hex().encode()] = "hexadecimal digest"
        windows: tuple[tuple[bytes | None, Trace], ...] = (
            (each.picture, "picture"),
            (each.pixels, "pixels"),
            (each.feature, "feature"),
        )
        found |= {window: trace for window, trace in windows if window is not None}
    return found


def texts_of(ids: Collection[str], subjects: Collection[str]) -> dict[bytes, Text]:
    """Return the ids and subjects that can be looked for in bytes, in UTF-8 and as JSON writes
    them."""
    found: dict[bytes, Text] = {}
    kinds: tuple[tuple[Collection[str], Trace], ...] = ((subjects, "subject"), (ids, "id"))
    for names, trace in kinds:
        for name in names:
            how = telling(name)
            if how != "no":
                found |= {form: Text(trace, how == "apart") for form in forms(name)}
    return found


def forms(name: str) -> set[bytes]:
    """Return a name in UTF-8, and as JSON writes it with and without escapes for non-ASCII."""
    if plain(name.encode()):
        return {name.encode()}
    return {
        name.encode(),
        json.dumps(name)[1:-1].encode(),
        json.dumps(name, ensure_ascii=False)[1:-1].encode(),
    }


def plain(text: bytes) -> bool:
    """Whether JSON writes a text unchanged."""
    return text.isascii() and b'"' not in text and b"\\" not in text


def alphanumeric(byte: bytes) -> bool:
    """Whether a byte is an ASCII letter or digit; False for none."""
    return byte.isalnum()
