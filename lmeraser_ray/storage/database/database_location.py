"""Which database holds a workspace's requests: the workspace's file `database`. It holds no
credentials.

One line: the dialect, the workspace's id, and where the database was when it was created (for
people to read; a server may move).
"""

from dataclasses import dataclass

from lmeraser_ray.errors import ConfigError, VerificationError
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.files import create_once, disk_errors
from lmeraser_ray.storage.paths import Location, local_folder
from lmeraser_ray.storage.store import Store

FILE = "database"
DIALECTS = ("sqlite", "postgresql")


@dataclass(frozen=True)
class DatabaseLocation:
    """What the file `database` says. dialect: sqlite or postgresql; workspace:
    `Pseudonymizer.workspace_id`; where: host and database, or a path."""

    dialect: str
    workspace: str
    where: str

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
                text = path.read_text(errors="replace")
            except FileNotFoundError:
                text = ""
            if not text:
                made = (
                    local_folder(root)
                    and (root / "requests.db").exists()
                    and (root / "requests.db").stat().st_size
                )
                return cls("sqlite", pseudonymizer.workspace_id, "") if made else None
        dialect, _, rest = text.strip().partition(" ")
        workspace, _, where = rest.partition(" ")
        if dialect not in DIALECTS or len(workspace) != 12:
            raise VerificationError(
                f"{path} is damaged, expected the kind of database and the workspace's id: bring "
                "it back from a backup."
            )
        if workspace != pseudonymizer.workspace_id:
            raise VerificationError(
                f"The workspace's `secret` is not the one that its hashes were made with ({path} "
                f"has {workspace}, it gives {pseudonymizer.workspace_id}), so nobody can tell who "
                "was erased: bring it back from a copy."
            )
        return cls(dialect, workspace, where)

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
        """Write the file; where there is one, that one stays."""
        create_once(
            root / FILE,
            f"{self.dialect} {self.workspace} {self.where}\n".encode(),
            scratch=Store(root / "objects").scratch,
        )
