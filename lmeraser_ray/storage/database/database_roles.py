"""The roles of a PostgreSQL server: what each part of a deployment may do to a workspace's
requests.

    lmeraser_queue      owns the schema: the queue, training
    lmeraser_submitter  adds requests, and sees how they are
    lmeraser_reader     reads all but names: audits

A worker has no role, so it can neither read nor write. Invariants: nobody but the owner changes or
removes a row; what a submitter adds is a request as `submit` makes it, RECEIVED, and nothing of the
states behind it; a name of a record or a subject is read by the owner and by submitters only. On a
server without these roles nothing is granted, and whoever connects is the owner.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from lmeraser_ray.storage.database.tables import NAMED, metadata

QUEUE = "lmeraser_queue"
Columns = tuple[str, ...]
ALL: Columns = ()
"""All columns of a table."""


@dataclass(frozen=True)
class DatabaseRole:
    """A role that does not own the tables. reads, adds: columns by table; only_if: the condition,
    in SQL, of a row that it adds."""

    name: str
    reads: Mapping[str, Columns]
    adds: Mapping[str, Columns] = field(default_factory=dict)
    only_if: Mapping[str, str] = field(default_factory=dict)

    def statements(self, schema: str) -> Iterator[str]:
        """The statements, in SQL, that give the role these rights and no others."""
        yield f"GRANT USAGE ON SCHEMA {schema} TO {self.name}"
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {self.name}"
        for action, granted in (("SELECT", self.reads), ("INSERT", self.adds)):
            for table, columns in granted.items():
                what = f"{action} ({', '.join(columns)})" if columns else action
                yield f"GRANT {what} ON {schema}.{table} TO {self.name}"
        for table in LIMITED:
            if table in self.reads:
                policy = f"{self.name}_reads ON {schema}.{table}"
                yield f"DROP POLICY IF EXISTS {policy}"
                yield f"CREATE POLICY {policy} FOR SELECT TO {self.name} USING (true)"
            if table in self.adds:
                policy, check = f"{self.name}_adds ON {schema}.{table}", self.only_if[table]
                yield f"DROP POLICY IF EXISTS {policy}"
                yield f"CREATE POLICY {policy} FOR INSERT TO {self.name} WITH CHECK ({check})"


REQUEST: Columns = (
    *("id", "idempotency", "content", "submitter", "state", "quarantine"),
    *("secret", "received_at", "due_at", "attempts", "legal_basis", "identity"),
)
SUBMITTER = DatabaseRole(
    "lmeraser_submitter",
    reads={
        **dict.fromkeys(("workspace", "secrets", "requests", "targets", "ledger", "lease"), ALL),
        "tokens": ALL,  # hashes of random secrets: the service looks callers up
        "tombstones": ("hash", "at"),  # whom no note may name; how many there are, and how old
    },
    adds={"requests": REQUEST, "targets": ALL, "ledger": ALL},
    only_if={
        "requests": "state = 'RECEIVED' AND attempts = 0",
        "targets": "outcome = 'open' AND EXISTS (SELECT FROM requests WHERE requests.id = "
        "request_id AND state = 'RECEIVED')",
        "ledger": "request_id IS NOT NULL AND kind IN ('RECEIVED', 'QUARANTINED')",
    },
)
LIMITED = tuple(SUBMITTER.only_if)
"""Tables of which a role may add some rows only: their owner sees and changes all of them."""
UNNAMED = {
    table.name: tuple(c.name for c in table.columns if (table, c.name) not in NAMED)
    if any(table is named for named, _ in NAMED)
    else ALL
    for table in metadata.sorted_tables
}
"""Every table, without the columns that hold names."""
READER = DatabaseRole("lmeraser_reader", reads=UNNAMED)
OTHERS = (SUBMITTER, READER)

SERVER = f"""\
CREATE ROLE {QUEUE} LOGIN;
CREATE ROLE {SUBMITTER.name} LOGIN;
CREATE ROLE {READER.name} LOGIN;
DO $$ BEGIN
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO {QUEUE}, {SUBMITTER.name}, {READER.name}',
                 current_database());
  EXECUTE format('GRANT CREATE ON DATABASE %I TO {QUEUE}', current_database());
END $$;
"""
"""What an administrator runs once, in the database that is to hold workspaces. Passwords are set
apart from it."""


def schema_statements(schema: str) -> tuple[str, ...]:
    """The statements, in SQL, that the owner of a workspace's schema runs for the other roles. They
    may be run again."""
    quoted = f'"{schema}"'
    limits = [f"ALTER TABLE {quoted}.{table} ENABLE ROW LEVEL SECURITY" for table in LIMITED]
    return (*limits, *(one for role in OTHERS for one in role.statements(quoted)))


def grant_roles(connection: Connection, schema: str) -> bool:
    """Give the other roles their rights in a workspace's schema, within a transaction of its owner.
    Returns False where the server does not have the roles."""
    names = [role.name for role in OTHERS]
    there = "SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)"
    if connection.exec_driver_sql(there, (names,)).scalar() != len(names):
        return False
    for statement in schema_statements(schema):
        connection.exec_driver_sql(statement)
    return True
