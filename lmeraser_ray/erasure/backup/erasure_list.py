"""The erasure list: all tombstones of a workspace and its ledger's head in one small file, to be
written daily and kept apart from backups.

An old backup does not know what was erased after it; this file does. It holds keyed hashes, which
reveal nothing without the workspace's secret.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import Connection, select

from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.tables import tombstones
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.files import disk_errors, write_atomic
from lmeraser_ray.storage.times import to_text, utcnow

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ErasureList:
    """The tombstones of a workspace at a moment. workspace: `Pseudonymizer.workspace_id`; at: the
    moment; seq, hash: the ledger's head then."""

    workspace: str
    at: str
    seq: int
    hash: str
    tombstones: tuple[str, ...]

    @classmethod
    def now(cls, conn: Connection, workspace: str) -> "ErasureList":
        """Read the list from the request database."""
        head = ledger.head(conn)
        hashes = tuple(sorted(conn.scalars(select(tombstones.c.hash))))
        return cls(workspace, to_text(utcnow()), head.seq, head.hash, hashes)

    def write(self, path: Path) -> None:
        """Write the file, mode 0600, replacing what is there."""
        table = {"format": FORMAT, **asdict(self), "tombstones": list(self.tombstones)}
        data = canonical_json(
            {**table, "sha256": hashlib.sha256(canonical_json(table)).hexdigest()}
        )
        with disk_errors(path):
            write_atomic(path, data + b"\n", scratch=path.parent)

    @classmethod
    def read(cls, path: Path) -> "ErasureList":
        """Read a file that `write` wrote. Errors: `ConfigError` where there is none,
        `VerificationError` where it is damaged."""
        try:
            read = json.loads(path.read_bytes())
            found, version = read.pop("sha256"), read["format"]
            if hashlib.sha256(canonical_json(read)).hexdigest() != found:
                raise VerificationError(
                    f"--erasures {path} is damaged: its bytes do not have their digest. Give "
                    "another copy."
                )
            if version != FORMAT:
                raise ConfigError(
                    f"--erasures {path} has format {version}, this version reads {FORMAT}: use "
                    "the version that wrote it."
                )
            return cls(
                read["workspace"], read["at"], read["seq"], read["hash"], tuple(read["tombstones"])
            )
        except OSError as error:
            raise ConfigError(
                f"--erasures {path} cannot be read ({error.strerror}): give the file of `lmeraser "
                "backup --erasures`."
            ) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise VerificationError(
                f"--erasures {path} is damaged, or is no file of `lmeraser backup --erasures`: "
                "give another copy."
            ) from error
