"""A path in object storage (S3, GCS, Azure), which answers what a workspace asks of a
`pathlib.Path`.

    s3://bucket/prefix  ──►  ObjectPath  ──►  this process's client of the bucket, with the environment's credentials

Invariants: an object is there whole or not at all; nothing outlives its deletion (a bucket that
keeps old versions is refused at the first write, and no upload has parts that a crash could leave
behind); what goes wrong is an `OSError`, as on a disk. There are no folders: `mkdir` makes an empty
marker object, and a folder is there as long as its marker is, so that it can be taken from under a
late writer.
"""

import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import obstore

from lmeraser_ray.storage.object_storage.client import as_os_errors, client

MARKER = ".folder"
LARGEST = 5_000_000_000
"""Bytes of one upload and of one copy on S3."""
OVERHEAD = 2048
"""Bytes between two ranges that are read rather than asked for apart: the heads of a request and of
its answer take about as many."""
PIECE = 4 << 20
"""Bytes that are read at a time, where a file is read from its beginning to its end."""
Mode = Any
"""What obstore takes as a condition of a write: overwrite, create, or the tag of what is there."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What there is to say of an object, by `os.stat`'s names."""

    st_size: int
    st_mode: int = stat.S_IFREG | 0o600


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """A path below a bucket. bucket: a URL without a path; key: names with `/` between them, empty
    for the bucket itself; size: of the object in bytes, where a listing has told it."""

    bucket: str
    key: str = ""
    size: int | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}".removesuffix("/")

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.bucket, str(PurePosixPath(self.key, name)))

    @property
    def name(self) -> str:
        """The last of the names."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> "ObjectPath":
        """The folder that this is in."""
        return self.parents[0] if self.key else self

    @property
    def parents(self) -> tuple["ObjectPath", ...]:
        """All folders that this is in, the nearest first."""
        return tuple(
            ObjectPath(self.bucket, "/".join(folder.parts))
            for folder in PurePosixPath(self.key).parents
        )

    def absolute(self) -> "ObjectPath":
        """Itself."""
        return self

    def resolve(self) -> "ObjectPath":
        """Itself: there are no links."""
        return self

    @property
    def _client(self) -> Any:
        return client(self.bucket, os.getpid())

    def _head(self) -> Any | None:
        with suppress(FileNotFoundError), as_os_errors(self.bucket, str(self)):
            return obstore.head(self._client, self.key)
        return None

    def exists(self) -> bool:
        """Whether there is an object of this name, or below it."""
        return self.is_file() or self._holds()

    def _holds(self) -> bool:
        with as_os_errors(self.bucket, str(self)):
            return any(
                obstore.list(self._client, f"{self.key}/" if self.key else None, chunk_size=1)
            )

    def is_file(self) -> bool:
        """Whether an object has this name."""
        return bool(self.key) and self._head() is not None

    @property
    def marker(self) -> "ObjectPath":
        """What makes this a folder."""
        return self / MARKER

    def is_dir(self) -> bool:
        """Whether a folder was made here and not removed."""
        return self.marker._head() is not None

    def stat(self) -> Stat:
        """Its size. Errors: `FileNotFoundError`, unless a listing had it."""
        if self.size is not None:
            return Stat(self.size)
        with as_os_errors(self.bucket, str(self)):
            return Stat(obstore.head(self._client, self.key)["size"])

    def tag(self) -> str | None:
        """What changes with the object's bytes; None where there is no object."""
        head = self._head()
        return head and head["e_tag"]

    def mkdir(self, mode: int = 0o700, *, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: ARG002 - as pathlib's
        """Make a folder. Errors: `FileExistsError` where there is one, unless `exist_ok`."""
        try:
            self.marker.write(b"", mode="create")
        except FileExistsError:
            if not exist_ok:
                raise

    def iterdir(self) -> Iterator["ObjectPath"]:
        """What is in this folder, folders included, markers not."""
        with as_os_errors(self.bucket, str(self)):
            found = obstore.list_with_delimiter(self._client, f"{self.key}/" if self.key else None)
            names = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        yield from (
            ObjectPath(self.bucket, name.rstrip("/"))
            for name in names
            if PurePosixPath(name).name != MARKER
        )

    def below(self, *, markers: bool = False) -> Iterator["ObjectPath"]:
        """Every object below, in order; the markers of folders only if they are asked for, or if
        something is in them."""
        with as_os_errors(self.bucket, str(self)):
            found = [
                item
                for page in obstore.list(self._client, f"{self.key}/" if self.key else None)
                for item in page
            ]
        for item in sorted(found, key=lambda item: item["path"]):
            path = ObjectPath(self.bucket, item["path"], item["size"])
            if markers or path.name != MARKER or item["size"]:
                yield path

    def read_bytes(self) -> bytes:
        """All of it."""
        with as_os_errors(self.bucket, str(self)):
            return bytes(obstore.get(self._client, self.key).bytes())

    def read_text(self, errors: str = "strict") -> str:
        """All of it, as UTF-8."""
        return self.read_bytes().decode(errors=errors)

    def ranges(self, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Some ranges of it, in order: as much of each as there is."""
        wanted = [
            (offset, offset + length)
            for offset, length in zip(offsets, lengths, strict=True)
            if length
        ]
        found = iter(self._ranges(wanted)) if wanted else iter(())
        return [next(found) if length else b"" for length in lengths]

    def _ranges(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """Ranges that lie nearer to each other than they are long on average are asked for
        together: so no more than twice what is wanted is read, but for what a request of its own
        would take."""
        starts, ends = zip(*wanted, strict=True)
        near = max(OVERHEAD, (sum(ends) - sum(starts)) // len(wanted))
        with as_os_errors(self.bucket, str(self)):
            return [
                bytes(piece)
                for piece in obstore.get_ranges(
                    self._client, self.key, starts=starts, ends=ends, coalesce=near
                )
            ]

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Read it from its beginning to its end, in one request. Errors: `FileNotFoundError` at
        once."""
        if mode != "rb":
            raise ValueError(f"{self} is opened for reading bytes, not {mode!r}: write it whole")
        with as_os_errors(self.bucket, str(self)):
            found = obstore.get(self._client, self.key)
        return io.BufferedReader(Pieces(self, iter(found.stream(min_chunk_size=PIECE))), PIECE)

    def write(self, data: bytes, mode: Mode = "overwrite") -> None:
        """Make it these bytes, at once. Errors: `FileExistsError` where the condition does not
        hold; `OSError` where old versions stay."""
        if len(data) > LARGEST:
            raise OSError(
                errno.EFBIG,
                f"one object holds {LARGEST} bytes at most, this has {len(data)}: use more buckets",
                str(self),
            )
        with as_os_errors(self.bucket, str(self)):
            made = obstore.put(self._client, self.key, data, mode=mode, use_multipart=False)
        if self.bucket.startswith("s3") and made["version"] not in (None, "null"):
            raise OSError(
                errno.EPERM,
                f"the bucket {self.bucket} keeps old versions of its objects, so that what is "
                "erased could be read on: use one without versioning",
                str(self),
            )

    def swap(self, data: bytes, before: str | None) -> None:
        """Make it these bytes if its `tag` is still `before`. Errors: `FileExistsError` where it is
        not."""
        self.write(data, mode="create" if before is None else {"e_tag": before})

    def replace(self, target: "ObjectPath") -> "ObjectPath":
        """Give it another name. Errors: `FileNotFoundError` where it is gone, or the folder in
        which it was written is."""
        if not self.parent.is_dir():
            self.unlink(missing_ok=True)
            raise FileNotFoundError(errno.ENOENT, "its folder was removed", str(self.parent))
        with as_os_errors(self.bucket, str(self)):
            obstore.copy(self._client, self.key, target.key)
        self.unlink(missing_ok=True)
        return target

    def copy(self, target: "ObjectPath") -> None:
        """Another object with the same bytes."""
        with as_os_errors(self.bucket, str(self)):
            obstore.copy(self._client, self.key, target.key)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove it. Errors: `FileNotFoundError` where it is not there, unless `missing_ok`."""
        if not missing_ok:
            ObjectPath(self.bucket, self.key).stat()
        with suppress(FileNotFoundError), as_os_errors(self.bucket, str(self)):
            obstore.delete(self._client, self.key)


def remove_all(paths: Iterable[ObjectPath]) -> None:
    """Remove objects of one bucket: the markers first, so that whoever still writes to a folder
    finds none."""
    listed = list(paths)
    for some in (
        [path for path in listed if path.name == MARKER],
        [path for path in listed if path.name != MARKER],
    ):
        if some:
            with suppress(FileNotFoundError), as_os_errors(some[0].bucket, str(some[0])):
                obstore.delete(some[0]._client, [path.key for path in some])


class Pieces(io.RawIOBase):
    """An object as a file that is read from its beginning to its end, as its bytes come."""

    def __init__(self, path: ObjectPath, pieces: Iterator[Any]) -> None:
        self._path, self._pieces, self._left, self._at = path, pieces, memoryview(b""), 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        with as_os_errors(self._path.bucket, str(self._path)):
            while not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    return 0
                self._left = memoryview(bytes(piece))
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        self._at += size
        return size

    def tell(self) -> int:
        """Bytes that were read."""
        return self._at
