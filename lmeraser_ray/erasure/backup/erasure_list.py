"""The erasure list: all tombstones of a workspace and its ledger's head in one small file, to be
written daily and kept apart from backups.

An old backup does not know what was erased after it; this file does. It holds keyed hashes, which
reveal nothing without the workspace's secret.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection

from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.tombstones import Tombstone, read_tombstones
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.foreign_json import Digest, ForeignJson, FormatJson, Natural, read_bounded
from lmeraser_ray.storage.times import to_text, utcnow
from lmeraser_ray.storage.whole_file import write_whole

FORMAT = 2
EARLIER = 1
"""Without versions of the secret and moments: all of version 1, as of the list's own moment."""


LIST_BYTES = 4 << 30
"""A file has about 100 bytes a tombstone."""


class ErasureListJson(ForeignJson):
    """The file."""

    format: Natural
    workspace: str
    at: str
    seq: Natural
    hash: Digest
    tombstones: tuple[Digest, ...] | tuple[tuple[Digest, Natural, str], ...]
    sha256: Digest

    def digest(self) -> str:
        """The SHA-256 of all but the digest."""
        table = self.model_dump(mode="json", exclude={"sha256"})
        return hashlib.sha256(canonical_json(table)).hexdigest()

    def stones(self) -> tuple[Tombstone, ...]:
        """The tombstones; those of an earlier format are of the list's moment."""
        return tuple(
            Tombstone(each, 1, self.at) if isinstance(each, str) else Tombstone(*each)
            for each in self.tombstones
        )


@dataclass(frozen=True, slots=True)
class ErasureList:
    """The tombstones of a workspace at a moment. workspace: `Pseudonymizer.workspace_id`; at: the
    moment; seq, hash: the ledger's head then."""

    workspace: str
    at: str
    seq: int
    hash: str
    tombstones: tuple[Tombstone, ...]

    @classmethod
    def now(cls, conn: Connection, workspace: str) -> "ErasureList":
        """Read the list from the request database."""
        head = ledger.head(conn)
        stones = tuple(read_tombstones(conn))
        return cls(workspace, to_text(utcnow()), head.seq, head.hash, stones)

    def write(self, path: Path) -> None:
        """Write the file, mode 0600, replacing what is there."""
        stones = [[stone.hash, stone.secret, stone.at] for stone in self.tombstones]
        table = {"format": FORMAT, **asdict(self), "tombstones": stones}
        data = canonical_json(
            {**table, "sha256": hashlib.sha256(canonical_json(table)).hexdigest()}
        )
        write_whole(path, data + b"\n")

    @classmethod
    def read(cls, path: Path) -> "ErasureList":
        """Read a file that `write` wrote. Errors: `ConfigError` where there is none,
        `VerificationError` where it is damaged."""
        try:
            data = read_bounded(path, LIST_BYTES)
            version = FormatJson.read(data).format
            if version not in (EARLIER, FORMAT):
                raise ConfigError(
                    f"--erasures {path} has format {version}, this version reads {FORMAT}: use "
                    "the version that wrote it."
                )
            read = ErasureListJson.read(data)
            if read.digest() != read.sha256:
                raise VerificationError(
                    f"--erasures {path} is damaged: its bytes do not have their digest. Give "
                    "another copy."
                )
            return cls(read.workspace, read.at, read.seq, read.hash, read.stones())
        except OSError as error:
            raise ConfigError(
                f"--erasures {path} cannot be read ({error.strerror}): give the file of `lmeraser "
                "backup --erasures`."
            ) from error
        except ValueError as error:
            raise VerificationError(
                f"--erasures {path} is damaged, or is no file of `lmeraser backup --erasures`: "
                "give another copy."
            ) from error
