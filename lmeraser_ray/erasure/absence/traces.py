"""Traces: what the absence scan looks for of a record that was erased.

    record → its id, its digest, a window of its picture, of its pixels, of its features
        → kept with the request until it is certified

>>> picture = bytes(range(256)) * 4
>>> traces = Traces.of("person-1/cat", bytes(32), picture=picture, feature=bytes(400))
>>> len(traces.picture), traces.feature  # features that are all zero identify no record
(48, None)
>>> Traces.from_bytes(traces.to_bytes(), "person-1/cat") == [traces]
True

Invariants: a window has enough different bytes to identify its record, or there is no window; a
window of a picture is no text, since a picture may quote what our own files say, and no part of
what these say without records; the compact form holds no id and has at most 184 bytes, so that a
million records to erase take 184 MB of the request database.
"""

import re
from dataclasses import dataclass
from typing import Literal

from lmeraser_ray.erasure.absence.skeletons import skeletons
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.storage.digests import DIGEST_BYTES

Trace = Literal["id", "subject", "digest", "hexadecimal digest", "picture", "pixels", "feature"]
WINDOW = 48
"""Bytes of a window: 12 features, 16 RGB pixels."""
LEAST = 16
"""The least bytes of a window: fewer may occur in anybody's data."""
DIFFERENT = 8
"""The least number of different byte values in a window: a black margin, or features that are all
zero, identify nobody."""
TRIED = 64
"""How many places in the data are tried for a window."""
BINARY = 4
"""The least bytes that are no text in a window of a picture."""
TEXT = bytes([*b"\t\n\r", *range(32, 127)])
MOMENT = re.compile(r"\d{4}-\d\d(-\d\d([T ][\d:.]*Z?)?)?")
"""A date, or a time with its date: what our own files say when something happened."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Traces:
    """The traces of one record. A window is None where no stretch of bytes identifies the record.

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
        """Return the traces of a record.

        picture: the encoded file; feature: its row [d] float32 as bytes; pixels: [3, s, s] uint8 as
        bytes. Errors: `ValueError` where the digest has another length.
        """
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        encoded = window_of(picture, least_binary=BINARY)
        return cls(record_id, subject_id, digest, encoded, window_of(pixels), window_of(feature))

    def to_bytes(self) -> bytes:
        """Return the compact form: a format byte, the digest, and each window after its length,
        without the ids."""
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
        """Read one or several compact forms, one after the other: several where a record came back
        with another picture while its request waited.

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


def window_of(data: bytes, *, least_binary: int = 0) -> bytes | None:
    """Return the `WINDOW` bytes with the most different byte values, ties to the stretch nearest to
    three quarters of the data; None where no stretch has `DIFFERENT` values. Stretches are left out
    that have fewer bytes than `least_binary` which are no text, or that our own files have anyway.

    The second half is preferred: the first may be a colour profile or a header that many pictures
    share. Data of `LEAST` to `WINDOW` bytes are a window as a whole.
    """
    for begin in (len(data) // 2, 0):
        last = max(begin, len(data) - WINDOW)
        starts = range(begin, last + 1, max(1, (last - begin) // TRIED))
        best = max(
            starts,
            key=lambda start: (
                identifies(data[start : start + WINDOW], least_binary),
                len(set(data[start : start + WINDOW])),
                -abs(4 * start - 3 * len(data)),
            ),
        )
        window = data[best : best + WINDOW]
        enough = len(window) >= min(WINDOW, max(LEAST, len(data)))
        if enough and len(set(window)) >= DIFFERENT and identifies(window, least_binary):
            return window
    return None


def identifies(window: bytes, least_binary: int) -> bool:
    """Whether a window has as many bytes that are no text, and is no part of what our own files say
    without records."""
    return len(window.translate(None, TEXT)) >= least_binary and window not in skeletons()


def telling(name: str) -> Literal["anywhere", "apart", "no"]:
    """Return how an id or a subject can be looked for in bytes that are not rows.

    anywhere: it hardly occurs by chance, so that every occurrence counts; apart: it could be part
    of a longer number or word (digits, a single word, hexadecimal digits), so that it counts where
    no letter or digit is next to it; no: it occurs everywhere (`1`, `cat`, `000042`, a date), so
    that only rows, where it is a value by itself, can tell whether it is there.
    """
    size = len(name.encode())
    if MOMENT.fullmatch(name):
        return "no"
    letters, digits = any(map(str.isalpha, name)), any(map(str.isdigit, name))
    others = any(not c.isalnum() for c in name)
    if size >= WINDOW:
        return "anywhere"
    if letters and all(c in "0123456789abcdefABCDEF" for c in name):
        return "anywhere" if size >= 24 else "apart" if size >= 12 else "no"
    if letters and (digits or others):
        return "anywhere" if size >= 6 else "no"
    return "apart" if size >= (8 if letters else 10) else "no"
