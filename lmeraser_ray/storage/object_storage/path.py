"""A path in object storage (S3, GCS, Azure), which answers what a workspace asks of a
`pathlib.Path`.

    s3://bucket/prefix ──► ObjectPath ──► this process's client of the bucket, with the
                                          credentials of the environment

Invariants: an object is there whole or not at all; no upload has parts that a crash could leave
behind; errors are `OSError`s, as on a disk. There are no folders in a bucket: `mkdir` makes an
empty marker object, and a folder is there as long as its marker is, so that another command can
take the folder away from a late writer.

A bucket that keeps the old versions of its objects is refused, since what is erased could be read
on. S3 answers a write with a version only in such a bucket, so every write is a check there. GCS
answers every write with a generation; there and on Azure `mkdir` writes its marker twice and asks
for the first version, so every command that writes checks once. Soft deletion, replicas and backups
of a provider cannot be seen by a client: switching them off is up to the bucket's owner.
"""

import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

import obstore

from lmeraser_ray.storage.object_storage.client import as_os_errors, client, keeps_versions

MARKER = ".folder"
LARGEST = 5_000_000_000
"""The limit of S3 for one upload and for one copy, in bytes."""
OVERHEAD = 2048
"""Bytes of a gap between two ranges that costs less to read than a second request: the headers of a
request and of its answer take about as many."""
PIECE = 4 << 20
"""Bytes that are read at a time by `ObjectPath.open`."""
Tag = dict[str, str]
"""Names the present version of an object: `e_tag`, and `version` where the provider has one."""
Mode = Literal["overwrite", "create"] | Tag
"""The condition of a write: none, that there is no such object, or that it has this tag."""


@dataclass(frozen=True, slots=True)
class Stat:
    """The size and the mode of an object, under the names of `os.stat`."""

    st_size: int
    st_mode: int = stat.S_IFREG | 0o600


@dataclass(frozen=True, slots=True, order=True)
class ObjectPath:
    """A path below a bucket.

    bucket: a URL without a path; key: names with `/` between them, empty for the bucket itself;
    size: of the object in bytes, where the path comes from a listing.
    """

    bucket: str
    key: str = ""
    size: int | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}".removesuffix("/")

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.bucket, str(PurePosixPath(self.key, name)))

    @property
    def name(self) -> str:
        """The last name of the key."""
        return PurePosixPath(self.key).name

    @property
    def parent(self) -> "ObjectPath":
        """The folder that holds this path."""
        return self.parents[0] if self.key else self

    @property
    def parents(self) -> tuple["ObjectPath", ...]:
        """All folders above this path, the nearest first."""
        return tuple(
            ObjectPath(self.bucket, "/".join(folder.parts))
            for folder in PurePosixPath(self.key).parents
        )

    def absolute(self) -> "ObjectPath":
        """This path: every URL is absolute."""
        return self

    def resolve(self) -> "ObjectPath":
        """This path: there are no links."""
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
        """The empty object that makes this path a folder."""
        return self / MARKER

    def is_dir(self) -> bool:
        """Whether a folder was made here and not removed."""
        return self.marker._head() is not None

    def stat(self) -> Stat:
        """The object's size; no request is made for a path of a listing. Errors:
        `FileNotFoundError`."""
        if self.size is not None:
            return Stat(self.size)
        with as_os_errors(self.bucket, str(self)):
            return Stat(obstore.head(self._client, self.key)["size"])

    def tag(self) -> Tag | None:
        """What changes with each write of the object; None where there is no object."""
        head = self._head()
        return None if head is None else tag_of(head)

    def mkdir(self, mode: int = 0o700, *, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: ARG002 - as pathlib's
        """Make a folder. Errors: `FileExistsError` where there is one, unless `exist_ok`;
        `OSError` where the bucket keeps old versions."""
        try:
            made = self.marker.write(b"", mode="create")
        except FileExistsError:
            if not exist_ok:
                raise
        else:
            self.marker._refuse_old_versions(made)

    def _refuse_old_versions(self, made: Tag) -> None:
        """Errors: `OSError` where this empty object's version `made` can still be read after the
        object was written again."""
        if made.get("version", "null") == "null":
            return
        with suppress(FileExistsError, FileNotFoundError):  # its folder was removed: leave it so
            self.write(b"", mode=made)
        with suppress(FileNotFoundError):
            with as_os_errors(self.bucket, str(self)):
                obstore.get(
                    self._client, self.key, options={"version": made["version"], "head": True}
                )
            raise keeps_versions(self.bucket, str(self))

    def iterdir(self) -> Iterator["ObjectPath"]:
        """The objects and folders in this folder, without markers."""
        with as_os_errors(self.bucket, str(self)):
            found = obstore.list_with_delimiter(self._client, f"{self.key}/" if self.key else None)
            names = [*found["common_prefixes"], *(item["path"] for item in found["objects"])]
        yield from (
            ObjectPath(self.bucket, name.rstrip("/"))
            for name in names
            if PurePosixPath(name).name != MARKER
        )

    def below(self, *, markers: bool = False) -> Iterator["ObjectPath"]:
        """Every object below, sorted by key. An empty marker is left out unless `markers`; a marker
        with bytes in it is something that does not belong there, and is always listed."""
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
        """All bytes of the object."""
        with as_os_errors(self.bucket, str(self)):
            return bytes(obstore.get(self._client, self.key).bytes())

    def read_text(self, errors: str = "strict") -> str:
        """All bytes of the object as UTF-8 text."""
        return self.read_bytes().decode(errors=errors)

    def ranges(self, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Byte ranges of the object in order, each as far as the object goes."""
        wanted = [
            (offset, offset + length)
            for offset, length in zip(offsets, lengths, strict=True)
            if length
        ]
        found = iter(self._ranges(wanted)) if wanted else iter(())
        return [next(found) if length else b"" for length in lengths]

    def _ranges(self, wanted: Sequence[tuple[int, int]]) -> list[bytes]:
        """Ask for ranges together where the gap between them is smaller than the average range, or
        than a request's own overhead. So at most twice the wanted bytes are read, plus the small
        gaps."""
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
        """Open the object for reading front to back, in one request. Errors: `FileNotFoundError` on
        opening."""
        if mode != "rb":
            raise ValueError(f"{self} is opened for reading bytes, not {mode!r}: write it whole")
        with as_os_errors(self.bucket, str(self)):
            found = obstore.get(self._client, self.key)
        return io.BufferedReader(Pieces(self, iter(found.stream(min_chunk_size=PIECE))), PIECE)

    def write(self, data: bytes, mode: Mode = "overwrite") -> Tag:
        """Write the object in one request. Returns the tag of the new version.

        Errors: `FileExistsError` where the condition does not hold; `OSError` where the object
        would be too large, or an S3 bucket keeps old versions.
        """
        if len(data) > LARGEST:
            raise OSError(
                errno.EFBIG,
                f"one object holds {LARGEST} bytes at most, this has {len(data)}: use more buckets",
                str(self),
            )
        with as_os_errors(self.bucket, str(self)):
            made = obstore.put(
                self._client,
                self.key,
                data,
                mode=mode,  # type: ignore[arg-type]
                use_multipart=False,
            )
        if self.bucket.startswith("s3") and made["version"] not in (None, "null"):
            raise keeps_versions(self.bucket, str(self))
        return tag_of(made)

    def swap(self, data: bytes, before: Tag | None) -> None:
        """Write the object if its `tag` is still `before`. Errors: `FileExistsError` where another
        writer was first."""
        self.write(data, mode="create" if before is None else before)

    def replace(self, target: "ObjectPath") -> "ObjectPath":
        """Give the object another name. Errors: `FileNotFoundError` where the object or the folder
        that it was written to is gone."""
        if not self.parent.is_dir():
            self.unlink(missing_ok=True)
            raise FileNotFoundError(errno.ENOENT, "its folder was removed", str(self.parent))
        with as_os_errors(self.bucket, str(self)):
            obstore.copy(self._client, self.key, target.key)
        self.unlink(missing_ok=True)
        return target

    def copy(self, target: "ObjectPath") -> None:
        """Write another object with the same bytes."""
        with as_os_errors(self.bucket, str(self)):
            obstore.copy(self._client, self.key, target.key)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the object. Errors: `FileNotFoundError` where there is none, unless
        `missing_ok`."""
        if not missing_ok:
            ObjectPath(self.bucket, self.key).stat()
        with suppress(FileNotFoundError), as_os_errors(self.bucket, str(self)):
            obstore.delete(self._client, self.key)


def tag_of(answer: Any) -> Tag:
    """The tag in a client's answer. GCS compares the version on a conditional write, S3 and Azure
    the `e_tag`."""
    return {name: answer[name] for name in ("e_tag", "version") if answer[name] is not None}


def remove_all(paths: Iterable[ObjectPath]) -> None:
    """Remove objects of one bucket, present or not: the markers first, so that a late writer finds
    its folder gone."""
    listed = list(paths)
    for some in (
        [path for path in listed if path.name == MARKER],
        [path for path in listed if path.name != MARKER],
    ):
        if some:
            try:
                with as_os_errors(some[0].bucket, str(some[0])):
                    obstore.delete(some[0]._client, [path.key for path in some])
            except FileNotFoundError:  # GCS and Azure stop at an object that is gone
                for path in some:
                    path.unlink(missing_ok=True)


class Pieces(io.RawIOBase):
    """An object as a raw file that is read front to back, while its bytes arrive."""

    def __init__(self, path: ObjectPath, pieces: Iterator[Any]) -> None:
        self._path, self._pieces, self._left, self._at = path, pieces, memoryview(b""), 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with the next bytes. Returns how many there are, 0 at the end."""
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
        """The number of bytes that were read."""
        return self._at
