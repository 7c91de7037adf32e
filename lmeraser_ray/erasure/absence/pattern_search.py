"""Search bytes for many patterns at once: what the absence scan is built on.

Binary patterns (digests, windows) are found by their 8-byte words. Wherever a pattern lies in a
file, one of its words lies at a multiple of 8; the set of these words is a table that stays in the
processor's cache, so that the search reads gigabytes a second, however many patterns there are.
Texts (ids) are found by Aho-Corasick. Invariants: no occurrence is missed, wherever it lies; a file
is read once, in pieces of 1 MiB, and memory does not grow with the file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ahocorasick_rs import BytesAhoCorasick
from numpy.typing import NDArray

from lmeraser_ray.storage.files import opened
from lmeraser_ray.storage.paths import Location

PIECE = 1 << 20
REACH = 4096
"""Bytes around a text that a match has with it: an id has at most 1,024 characters (`data.ids`), so
at most 4,096 bytes."""
MARGIN = 2 * REACH
SHORTEST = 15
"""The least bytes of a binary pattern: wherever 15 bytes lie, they have a whole word at a multiple
of 8."""
BLOCK = 1 << 14
"""Words that are looked up at a time."""
MIX = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: the upper bits of a product with it are a good hash."""


@dataclass(frozen=True, slots=True)
class Match:
    """An occurrence of a pattern.

    pattern: its position among the patterns; at: the offset of its first byte; before, after: up to
    `REACH` bytes around a text, none for binary patterns.
    """

    pattern: int
    at: int
    before: bytes = b""
    after: bytes = b""


class Words:
    """Finds binary patterns, each of `SHORTEST` bytes or more."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        self._patterns = patterns
        found = [
            (pattern[at : at + 8], i, at)
            for i, pattern in enumerate(patterns)
            for at in best_offsets(pattern)
        ]
        words = np.frombuffer(b"".join(word for word, _, _ in found), np.uint64)
        order = np.argsort(words, kind="stable")
        self._words = words[order]
        self._owners = [found[i][1:] for i in order]
        self._bits = min(max(len(words).bit_length() + 6, 16), 23)
        self._mixed, self._hit = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.bool_)
        self._first, self._second = np.zeros((2, 1 << self._bits), np.bool_)
        self._first[self._slots(words * MIX)] = True
        self._second[self._other_slots(words * MIX)] = True

    def _slots(
        self, mixed: NDArray[np.uint64], out: NDArray[np.uint64] | None = None
    ) -> NDArray[np.int64]:
        """Return the upper bits of hashed words: slots of the first table."""
        return np.right_shift(mixed, np.uint64(64 - self._bits), out=out).view(np.int64)

    def _other_slots(self, mixed: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return other bits: slots of the second table, for words that the first lets through."""
        return self._slots(mixed << np.uint64(24))

    def _candidates(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the positions of words that may be of a pattern. Works in blocks that stay in the
        cache, in memory that is allocated once."""
        found: list[NDArray[np.int64]] = []
        for at in range(0, len(words), BLOCK):
            block = words[at : at + BLOCK]
            mixed, hit = self._mixed[: len(block)], self._hit[: len(block)]
            np.multiply(block, MIX, out=mixed)
            self._first.take(self._slots(mixed, mixed), out=hit, mode="clip")
            places = np.flatnonzero(hit)
            found.append(places[self._second.take(self._other_slots(block[places] * MIX))] + at)
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def find(self, data: memoryview) -> Iterator[tuple[int, int]]:
        """Yield every occurrence: the pattern's position and the offset."""
        words = np.frombuffer(data[: len(data) // 8 * 8], np.uint64)
        places = self._candidates(words) if self._patterns else np.empty(0, np.int64)
        first, last = (
            np.searchsorted(self._words, words[places], side) for side in ("left", "right")
        )
        for i in np.flatnonzero(last > first).tolist():
            for pattern, offset in self._owners[first[i] : last[i]]:
                at = int(places[i]) * 8 - offset
                if (
                    at >= 0
                    and data[at : at + len(self._patterns[pattern])] == self._patterns[pattern]
                ):
                    yield pattern, at


def best_offsets(pattern: bytes) -> list[int]:
    """Return for each remainder modulo 8 the offset whose word has the most different bytes: a word
    such as eight zeros occurs everywhere."""
    if len(pattern) < SHORTEST:
        raise ValueError(f"a binary pattern has {SHORTEST} bytes at least, not {len(pattern)}")
    different = [len(set(pattern[at : at + 8])) for at in range(len(pattern) - 7)]
    return [
        max(range(remainder, len(different), 8), key=different.__getitem__)
        for remainder in range(8)
    ]


class Search:
    """Finds binary patterns and texts. Positions of matches count the binary patterns first, then
    the texts."""

    def __init__(self, binary: Sequence[bytes], texts: Sequence[bytes]) -> None:
        self._binary, self._texts = tuple(binary), tuple(texts)

    @cached_property
    def _words(self) -> Words:
        return Words(self._binary)

    @cached_property
    def _automaton(self) -> BytesAhoCorasick:
        return BytesAhoCorasick(self._texts)

    def in_bytes(
        self, data: bytes | memoryview, *, binary: bool = True, texts: bool = True
    ) -> Iterator[Match]:
        """Yield every occurrence in `data` of the binary patterns, if `binary`, and of the texts,
        if `texts`."""
        view = memoryview(data)
        if binary:
            yield from (Match(pattern, at) for pattern, at in self._words.find(view))
        if texts and self._texts:
            for i, start, end in self._automaton.find_matches_as_indexes(view, overlapping=True):
                around = bytes(view[max(0, start - REACH) : start]), bytes(view[end : end + REACH])
                yield Match(len(self._binary) + i, start, *around)

    def in_file(self, path: Location, *, texts: bool = True) -> Iterator[Match]:
        """Yield every occurrence in a file. Errors: `FileNotFoundError` where the file is gone,
        `ExecutionError` where it cannot be read."""
        for base, piece, first, end in pieces(path):
            for match in self.in_bytes(piece, texts=texts):
                if first <= match.at < end:
                    yield Match(match.pattern, base + match.at, match.before, match.after)


def pieces(path: Location) -> Iterator[tuple[int, memoryview, int, int]]:
    """Yield a file in overlapping pieces: the piece's offset in the file, its bytes, and the first
    and last position in them that belong to this piece alone.

    The file is read and not mapped: a mapped file that shrinks meanwhile kills the process.
    """
    view = np.empty(PIECE + 2 * MARGIN, np.uint8).data  # aligned, so that words are
    with opened(path) as fill:
        at = 0
        while True:
            start = max(0, at - MARGIN)
            size = fill(view[: at + PIECE + MARGIN - start], start)
            if size <= at - start:
                return
            yield start, view[:size], at - start, at - start + PIECE
            at += PIECE
