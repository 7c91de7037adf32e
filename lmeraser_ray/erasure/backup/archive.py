"""The file of a backup: a tar of parts behind a table of contents, which has the digest of each
part.

    contents.json, contents.sha256, then the parts in the order of the table

Invariants: the file appears whole or not at all, mode 0600; size and SHA-256 of each part are
verified when it is read; no part is written to a path that the archive names. The digests detect
damage and truncation, and forgery only where the digest of the table is kept elsewhere.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pydantic import ConfigDict

from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.files import disk_errors, open_file
from lmeraser_ray.storage.foreign_json import Digest, ForeignJson, FormatJson, Natural
from lmeraser_ray.storage.paths import Location
from lmeraser_ray.storage.whole_file import whole_file

ROWS = "requests.jsonl"
KEPT = ("configuration.json", "secret", "database")
"""Files of the workspace that are copied unchanged; `database` tells people where the requests
were."""

FORMAT = 1
CONTENTS, DIGEST = "contents.json", "contents.sha256"
PIECE = 1 << 20
TABLE_BYTES = 1 << 30
"""A table of contents has about 250 bytes a part."""
BAD_TAR = (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError)
"""What hostile headers lead `tarfile` into: numbers that are none, names behind names."""


@dataclass(frozen=True, slots=True)
class ArchivePart:
    """One part: its name, how many bytes it has, and their SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


class BackupCard(ForeignJson):
    """What an archive is a backup of. manifest: key and SHA-256 of the published manifest; seq,
    hash: the ledger's head; a later version may say more."""

    model_config = ConfigDict(extra="allow")
    version: str
    at: str
    workspace: str
    manifest: tuple[Digest, Digest]
    fingerprint: Digest
    dialect: str
    seq: Natural
    hash: Digest


class PartJson(ForeignJson):
    """A part in the table of contents."""

    name: str
    size: Natural
    sha256: Digest


class ContentsJson(ForeignJson):
    """The table of contents as JSON."""

    format: Natural
    about: BackupCard
    parts: tuple[PartJson, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of contents. about: what the archive is a backup of."""

    about: BackupCard
    parts: tuple[ArchivePart, ...]

    def to_bytes(self) -> bytes:
        """The canonical JSON."""
        return canonical_json(
            {
                "format": FORMAT,
                "about": self.about.model_dump(mode="json"),
                "parts": [asdict(part) for part in self.parts],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Contents":
        """Read what `to_bytes` wrote. Errors: `ConfigError` on another version's,
        `VerificationError` on anything else."""
        try:
            version = FormatJson.read(data).format
            if version != FORMAT:
                raise ConfigError(
                    f"The backup has format {version}, this version reads {FORMAT}: use the "
                    "version that wrote it."
                )
            read = ContentsJson.read(data)
            return cls(read.about, tuple(ArchivePart(p.name, p.size, p.sha256) for p in read.parts))
        except ValueError as error:
            raise VerificationError(
                "This is no backup of a workspace: give the file that `lmeraser backup` wrote."
            ) from error


class Checked(io.RawIOBase):
    """A file that is read once, front to back, and hashed while it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._state = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        self._state.update(data)
        return data

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was read so far, in hexadecimal."""
        return self._state.hexdigest()


def part_of(name: str, path: Location) -> ArchivePart:
    """Describe a file as a part."""
    with disk_errors(path), open_file(path) as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        return ArchivePart(name, file.tell(), found)


def write_archive(path: Path, contents: Contents, sources: Sequence[Location]) -> str:
    """Write an archive, replacing what is at `path`. sources: the parts' files, in order. Returns
    the SHA-256 of the table of contents.

    Errors: `VerificationError` where a file is not what its part says; `ExecutionError` where the
    disk is full. Then nothing is written.
    """
    table = contents.to_bytes()
    digest = hashlib.sha256(table).hexdigest()
    with (
        whole_file(path) as file,
        disk_errors(path),
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in ((CONTENTS, table), (DIGEST, f"{digest}\n".encode())):
            archive.addfile(header(name, len(data)), io.BytesIO(data))
        for part, source in zip(contents.parts, sources, strict=True):
            add(archive, part, source)
    return digest


def add(archive: tarfile.TarFile, part: ArchivePart, source: Location) -> None:
    """Copy one part's file. Errors: `VerificationError` where it changed."""
    with open_file(source) as file:
        checked = Checked(file)
        if source.stat().st_size == part.size:
            archive.addfile(header(part.name, part.size), checked)
    if checked.sha256 != part.sha256:
        raise VerificationError(
            f"{part.name} is damaged: its bytes do not have the digest that they should. Run "
            "`lmeraser verify`."
        )


def header(name: str, size: int) -> tarfile.TarInfo:
    """Return a part's header, without owner and time: equal parts have equal headers."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


class Archive:
    """An archive that is being read, front to back."""

    def __init__(self, path: Path, tar: tarfile.TarFile) -> None:
        self._path, self._tar = path, tar
        table = b"".join(self._read(CONTENTS, None, TABLE_BYTES))
        digest = b"".join(self._read(DIGEST, None, TABLE_BYTES))
        if digest != f"{hashlib.sha256(table).hexdigest()}\n".encode():
            raise VerificationError(
                f"{path} is damaged: its table of contents does not have its digest. Give another "
                "backup."
            )
        self.digest = digest.decode().strip()
        self.contents = Contents.from_bytes(table)

    def parts(self) -> Iterator[tuple[ArchivePart, Iterator[bytes]]]:
        """Yield each part with its bytes in pieces. The caller reads all pieces before the next
        part. Errors: `VerificationError`, before the last piece, where a part is damaged."""
        for part in self.contents.parts:
            yield part, self._read(part.name, part)
        if self._next() is not None:
            raise self._damaged("it holds more than its table of contents names")

    def _next(self) -> tarfile.TarInfo | None:
        try:
            return self._tar.next()
        except MemoryError:  # a header that claims a terabyte
            raise self._damaged("a header claims more than there is") from None
        except BAD_TAR as error:
            raise self._damaged("it is cut, or no tar file") from error

    def _read(self, name: str, part: ArchivePart | None, limit: int = 2**63) -> Iterator[bytes]:
        info = self._next()
        if (
            info is None
            or info.name != name
            or info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE)
            or info.issparse()
            or info.size > limit
            or (part and info.size != part.size)
        ):
            raise self._damaged(f"{name} is missing, or is not what its table of contents says")
        file = self._tar.extractfile(info)
        checked = Checked(file) if file else Checked(io.BytesIO())
        left = info.size
        while left:
            try:
                with disk_errors(self._path):
                    data = checked.read(min(PIECE, left))
            except BAD_TAR as error:
                raise self._damaged("it is cut") from error
            left -= len(data)
            if not data or (not left and part and checked.sha256 != part.sha256):
                raise self._damaged(f"{name} does not have its digest")
            yield data

    def _damaged(self, what: str) -> VerificationError:
        return VerificationError(
            f"{self._path} is damaged: {what}. Nothing was restored from it: give another backup."
        )


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Read an archive. Errors: `ConfigError` where there is none, `VerificationError` where it is
    damaged."""
    if not path.is_file():
        raise ConfigError(f"--from {path} is no file: give the file that `lmeraser backup` wrote.")
    with ExitStack() as stack:
        with disk_errors(path):
            file = stack.enter_context(open(path, "rb"))
        try:
            tar = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
        except (*BAD_TAR, MemoryError):  # the latter: a first header that claims a terabyte
            raise VerificationError(
                f"{path} is no backup of a workspace, or it is damaged from its first bytes on."
            ) from None
        yield Archive(path, tar)
