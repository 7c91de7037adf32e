"""Traces: what the absence scan looks for of a record that was erased.

    record → its id, its digest, a window of its picture, of its pixels, of its features → kept with the request until it is certified

Invariants: a window holds enough different bytes to be this record's and no other's, or there is
none; the compact form has no id in it and at most 184 bytes, so that a million records to erase are
184 MB of the request database.
"""

from dataclasses import dataclass
from typing import Literal

from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import DIGEST_BYTES

Trace = Literal["id", "subject", "digest", "hexadecimal digest", "picture", "pixels", "feature"]
WINDOW = 48
"""Bytes of a window: 12 features, 16 RGB pixels. A byte less or more decides nothing."""
LEAST = 16
"""Bytes that a window has at least: fewer may be anybody's."""
DIFFERENT = 8
"""Different byte values in a window at least: a black margin or features that are all zero say
nothing of whose they are."""
TRIED = 64
"""Places in the data at which a window is tried."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Traces:
    """One record's needles. A window is None where the record has no stretch of bytes that
    identifies it.

    record_id: as stored; subject_id: only where all of a subject's records go; digest: the
    record's, 32 bytes; picture: of the encoded picture; pixels: of the decoded picture as the
    backbone sees it (what Ray moves); feature: of the stored feature's bytes.
    """

    record_id: str
    subject_id: str | None
    digest: bytes
    picture: bytes | None
    pixels: bytes | None
    feature: bytes | None

    @classmethod
    def of(
        cls,
        record_id: str,
        digest: bytes,
        *,
        picture: bytes,
        feature: bytes,
        pixels: bytes = b"",
        subject_id: str | None = None,
    ) -> "Traces":
        """The needles of a record. picture: the encoded file; feature: its row [d] float32 as
        bytes; pixels: [3, s, s] uint8 as bytes."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        return cls(
            record_id, subject_id, digest, window_of(picture), window_of(pixels), window_of(feature)
        )

    def to_bytes(self) -> bytes:
        """The compact form: a format byte, the digest, and each window behind its length. Ids are
        not in it."""
        windows = (self.picture or b"", self.pixels or b"", self.feature or b"")
        return (
            bytes([FORMAT])
            + self.digest
            + b"".join(bytes([len(window)]) + window for window in windows)
        )

    @classmethod
    def from_bytes(
        cls, data: bytes, record_id: str, subject_id: str | None = None
    ) -> "list[Traces]":
        """Read what `to_bytes` wrote, several forms one behind the other: of a record that had
        several pictures while its request waited.

        Errors: `VerificationError` on anything else.
        """
        found, at = list[Traces](), 0
        while at < len(data) or not found:
            head, at, windows = data[at : at + 1 + DIGEST_BYTES], at + 1 + DIGEST_BYTES, []
            for _ in range(3):
                size = data[at] if at < len(data) else LEAST
                windows.append(data[at + 1 : at + 1 + size])
                at += 1 + size
            if (
                head[:1] != bytes([FORMAT])
                or at > len(data)
                or any(0 < len(w) < LEAST for w in windows)
            ):
                raise VerificationError(
                    "What the absence scan has to look for cannot be read from the request "
                    "database: restore it from a backup, and the erasure is done again."
                )
            picture, pixels, feature = (window or None for window in windows)
            found.append(cls(record_id, subject_id, head[1:], picture, pixels, feature))
        return found


def window_of(data: bytes) -> bytes | None:
    """The stretch of `WINDOW` bytes that tells most: the one with the most different byte values,
    ties to the nearest to three quarters.

    Of the second half, if it can be: the first may be a colour profile or a header that many
    pictures share. None where no stretch has `DIFFERENT` values. Shorter data are a window
    themselves, from `LEAST` bytes on.
    """
    for begin in (len(data) // 2, 0):
        last = max(begin, len(data) - WINDOW)
        starts = range(begin, last + 1, max(1, (last - begin) // TRIED))
        best = max(
            starts,
            key=lambda start: (
                len(set(data[start : start + WINDOW])),
                -abs(4 * start - 3 * len(data)),
            ),
        )
        window = data[best : best + WINDOW]
        if len(window) >= min(WINDOW, max(LEAST, len(data))) and len(set(window)) >= DIFFERENT:
            return window
    return None


def telling(name: str) -> Literal["anywhere", "apart", "no"]:
    """How an id or a subject can be looked for in bytes that are not rows.

    anywhere: it hardly occurs by chance, so every occurrence counts; apart: it could be a part of a
    longer number or word (digits, a single word, hexadecimal digits), so it counts where no letter
    or digit is next to it; no: it is everywhere (`1`, `cat`, `000042`), so only rows, in which it
    is a value of its own, can say whether it is there.
    """
    size = len(name.encode())
    letters, digits = any(map(str.isalpha, name)), any(map(str.isdigit, name))
    others = any(not c.isalnum() for c in name)
    if size >= WINDOW:
        return "anywhere"
    if letters and all(c in "0123456789abcdefABCDEF" for c in name):
        return "anywhere" if size >= 24 else "apart" if size >= 12 else "no"
    if letters and (digits or others):
        return "anywhere" if size >= 6 else "no"
    return "apart" if size >= (8 if letters else 10) else "no"
