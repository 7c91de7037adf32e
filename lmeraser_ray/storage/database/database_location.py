"""Which database holds a workspace's requests: the workspace's file `database`. It holds no
credentials.

One line: the dialect, the workspace's id, and where the database was when it was created (for
people to read; a server may move). A second one, `format N`: the format of its tables, so that who
can write to the database cannot pass it for one of an earlier release, and a digest over both;
without it, format 1.
"""

import re
from dataclasses import dataclass, replace

from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.files import create_once, disk_errors, read_file, write_atomic
from lmeraser_ray.storage.paths import Location, local_folder
from lmeraser_ray.storage.store import Store

FILE = "database"
DIALECTS = ("sqlite", "postgresql")
JOINED = re.compile(r"[0-9a-f]{64}\s*$")
"""The end of two lines in one: the digest over them, which an earlier release did not write."""


@dataclass(frozen=True)
class DatabaseLocation:
    """What the file `database` says. dialect: sqlite or postgresql; workspace:
    `Pseudonymizer.workspace_id`; where: host and database, or a path; format: of the tables;
    intact: whether the file is as it was written, as far as it tells."""

    dialect: str
    workspace: str
    where: str
    format: int = tables.FORMAT
    intact: bool = True

    @property
    def text(self) -> str:
        """What the file says."""
        line = f"{self.dialect} {self.workspace} {self.where}\nformat {self.format}"
        return f"{line} {key_of('pin', line.encode())}\n"

    @classmethod
    def parse(cls, text: str) -> "DatabaseLocation | None":
        """Read what the file says, unchecked against the secret; None where it is damaged so that
        no command can use it."""
        line, end, more = text.partition("\n")
        dialect, _, rest = line.strip().partition(" ")
        workspace, _, where = rest.partition(" ")
        version = more.removeprefix("format ").partition(" ")[0] if more else "1"
        if dialect not in DIALECTS or len(workspace) != 12 or not version.isdecimal():
            return None
        found = cls(dialect, workspace, where, int(version))
        written = found.text == text if more else bool(end) and not JOINED.search(line)
        return replace(found, intact=written)

    @classmethod
    def damaged(cls, root: Location) -> bool:
        """Whether the file is there, and not as it was written."""
        path = root / FILE
        with disk_errors(path):
            try:
                found = cls.parse(read_file(path).decode(errors="replace"))
            except FileNotFoundError:
                return False
        return found is None or not found.intact

    @classmethod
    def read(cls, root: Location, pseudonymizer: Pseudonymizer) -> "DatabaseLocation | None":
        """Where the workspace's database is, None before there is one. A SQLite file without the
        file `database` counts: its creator may have crashed between the two.

        Errors: `VerificationError` where the file is damaged, or of another secret than the
        workspace's.
        """
        path = root / FILE
        with disk_errors(path):
            try:
                text = read_file(path).decode(errors="replace")
            except FileNotFoundError:
                text = ""
            if not text:
                made = (
                    local_folder(root)
                    and (root / "requests.db").exists()
                    and (root / "requests.db").stat().st_size
                )
                return cls("sqlite", pseudonymizer.workspace_id, "", 1) if made else None
        found = cls.parse(text)
        if found is None:
            raise VerificationError(
                f"{path} is damaged, expected the kind of database and the workspace's id: bring "
                "it back from a backup."
            )
        if found.workspace != pseudonymizer.workspace_id:
            raise VerificationError(
                f"The workspace's `secret` is not the one that its hashes were made with ({path} "
                f"has {found.workspace}, it gives {pseudonymizer.workspace_id}), so nobody can "
                "tell who was erased: bring it back from a copy."
            )
        return found

    def require(self, root: Location, dialect: str) -> None:
        """Errors: `ConfigError` where another kind of database is asked for."""
        if dialect != self.dialect:
            wanted = {
                "sqlite": "in the workspace (SQLite): take queue.database and LMERASER_DATABASE "
                "away",
                "postgresql": f"on PostgreSQL ({self.where}): give queue.database or "
                "LMERASER_DATABASE",
            }
            raise ConfigError(
                f"The erasure requests of {root} are {wanted[self.dialect]}. An empty database "
                "would forget who was erased."
            )

    def write(self, root: Location) -> None:
        """Write the file; where there is one of this format, that one stays."""
        scratch = Store(root / "objects").scratch
        if not create_once(root / FILE, self.text.encode(), scratch=scratch):
            with disk_errors(root / FILE):
                kept = self.parse(read_file(root / FILE).decode(errors="replace"))
            if kept is not None and kept.format < self.format:
                write_atomic(root / FILE, self.text.encode(), scratch=scratch)
