"""The tables of the request database, for both dialects.

Moments are text (`times.py`), which sorts as time does. Ids of records and subjects are in
`targets.name`, `erased.name` and `erased.needles` (traces for the absence scan) only, and only as
long as `State.keeps_names` holds; everywhere else there are keyed hashes (`pseudonyms.py`).
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
)

FORMAT = 4
"""The version of these tables, kept in `workspace`; `upgrade.py` brings earlier ones to it."""

metadata = MetaData()

workspace = Table(
    "workspace",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("workspace", Text, nullable=False),  # Pseudonymizer.workspace_id
    Column("format", Integer, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("idempotency", Text, unique=True),  # keyed hash of the caller's key
    Column("content", Text, nullable=False),  # keyed hash over the sorted targets
    Column("submitter", Text, nullable=False),  # keyed hash of who asked
    Column("secret", Integer, nullable=False, default=1, server_default="1"),  # of the hashes
    Column("state", Text, nullable=False),
    Column("quarantine", Boolean, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("due_at", Text, nullable=False),
    Column("extended_at", Text),  # the later moment that an extension put in the place of due_at
    Column("extension_reason", Text),
    Column("reason", Text),  # why REFUSED, CANCELLED, FAILED
    Column("attempts", Integer, nullable=False, default=0),
    Column("planned_at", Text),
    Column("training_at", Text),
    Column("published_at", Text),
    Column("purged_at", Text),
    Column("closed_at", Text),
    Column("publication", Integer),
    Column("statement", LargeBinary),  # frozen before it is signed
    Column("envelope", LargeBinary),  # the certificate
    Column("findings", Text),  # JSON: what keeps a published request from being proven
    Column("exceptions", Text),  # JSON: the findings that an operator accepted, and when
    Column("legal_basis", Text),  # why the law has it erased, as whoever submitted it typed
    Column("identity", Text),  # how it was checked who asks
    Index("requests_by_state", "state", "received_at"),
    Index("requests_by_submitter", "submitter", "state"),
)

targets = Table(
    "targets",
    metadata,
    Column("request_id", Text, ForeignKey("requests.id"), primary_key=True),
    Column("what", Text, primary_key=True),  # record, subject
    Column("hash", Text, primary_key=True),
    Column("name", Text),
    Column("outcome", Text, nullable=False, default="open"),  # open, removed, already, unknown
    Index("targets_by_hash", "hash"),
)

erased = Table(
    "erased",
    metadata,
    Column("request_id", Text, ForeignKey("requests.id"), primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("name", Text),
    Column("needles", LargeBinary),  # what the absence scan looks for
    Column("publication", Integer),
    Column("subject", Text),  # keyed hash of the record's subject
    Column("test", Boolean),  # whether it only tested; null where an earlier release planned it
    Index("erased_by_publication", "publication"),
    Index("erased_by_hash", "hash"),
)

NAMED = ((targets, "name"), (erased, "name"), (erased, "needles"))
"""The columns that may hold what a request erases."""
REASONS = tuple(
    (requests, column) for column in ("reason", "extension_reason", "legal_basis", "identity")
)
"""The columns that hold what people typed. What is erased is taken out of them."""

tombstones = Table(
    "tombstones",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("secret", Integer, nullable=False, default=1, server_default="1"),
    Column("at", Text),  # when it was set; null is never too old
)

secrets = Table(  # the versions of the secret that anything may be hashed under
    "secrets",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("seal", Text, nullable=False),  # by which another secret is noticed
    Column("retired_at", Text),
)

publications = Table(
    "publications",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("epoch", Integer, nullable=False),
    Column("before", Text),  # the states before and after, as the ledger names them
    Column("after", Text),
    Column("facts", Text),  # JSON
    Column("done", Boolean, nullable=False, default=False),
    sqlite_autoincrement=True,
)

ledger = Table(
    "ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_id", Text),
    Column("entry", Text, nullable=False),  # canonical JSON
    Column("previous", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Index("ledger_by_request", "request_id"),
)

tokens = Table(  # who may use the service
    "tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("hash", Text, nullable=False),  # SHA-256 of a random secret
    Column("at", Text, nullable=False),
    Column("until", Text),  # null does not expire
    Column("revoked_at", Text),
)

lease = Table(
    "lease",
    metadata,
    Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("holder", Text),
    Column("process", Text),  # the holder's, as `erasure/queue/process.py` marks it
    Column("heartbeat_at", Text),
    Column("snapshot", Text),  # JSON
)

# Written by versions before 0.5.0 only: what is in quarantine follows from the open requests.
quarantined = Table(
    "quarantined",
    metadata,
    Column("constituent", Text, primary_key=True),
    Column("request_id", Text, ForeignKey("requests.id"), primary_key=True),
)

BACKED_UP = tuple(table for table in metadata.sorted_tables if table is not tokens)
"""The tables of a backup: one would bring revoked tokens back, and a forged one make some."""
