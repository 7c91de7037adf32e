"""What somebody does who can write to a request database, and has neither the workspace's secret
nor a signing key: he knows the program, and leaves no hash wrong that he can make right."""

import hashlib
import json
from dataclasses import replace

from sqlalchemy import Connection, insert, select

from lmeraser_ray.erasure.certificate.statement import (
    ErasedHashes,
    ErasedTarget,
    Statement,
    read_statement,
    statement_of,
)
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.database.tables import erased, publications, requests, targets
from lmeraser_ray.storage.database.tables import ledger as ledger_table
from lmeraser_ray.storage.digests import canonical_json
from lmeraser_ray.storage.times import to_text, utcnow
from tests.support.signing_desk import Desk

FORGED = "er-20261130-f0f0f0f0f0f0f0f0"


def append_plain(conn: Connection, kind: str, request: str | None, facts: ledger.Facts) -> None:
    """Append an entry, hashed as a release without keys did."""
    end, at = ledger.head(conn), to_text(utcnow())
    seq = end.seq + 1
    entry = {"seq": seq, "at": at, "kind": kind, "request": request, "facts": dict(facts)}
    text = canonical_json(entry).decode()
    row = {"seq": seq, "at": at, "kind": kind, "request_id": request, "entry": text}
    hashed = ledger.plain_hash(end.hash, text)
    conn.execute(insert(ledger_table).values(**row, previous=end.hash, hash=hashed))


def forged_statement(model: Statement, request: str, hashes: tuple[str, ...]) -> Statement:
    """The statement of a certified request, about another request and other hashes."""
    named = tuple(ErasedTarget("record", found, "removed") for found in hashes)
    return replace(
        model, request=replace(model.request, id=request), erased=ErasedHashes(named, hashes)
    )


def forge_request(desk: Desk, certified: str, *, entries: bool) -> str:
    """Add a request that is PURGED: its row, targets, records and statement, as a certified request
    has them, and its entries in the ledger."""
    hashes = (hashlib.sha256(b"somebody").hexdigest(),)
    with desk.database.write() as conn:
        row = dict(
            conn.execute(select(requests).where(requests.c.id == certified)).mappings().one()
        )
        said = forged_statement(read_statement(bytes(row["statement"])), FORGED, hashes)
        frozen = statement_of(replace(said, ledger=ledger.head(conn)))
        row |= {"id": FORGED, "state": "PURGED", "statement": frozen, "envelope": None}
        conn.execute(insert(requests).values(**{**row, "idempotency": None}))
        for found in hashes:
            target = {"request_id": FORGED, "what": "record", "hash": found}
            conn.execute(insert(targets).values(**target, outcome="removed"))
            conn.execute(
                insert(erased).values(request_id=FORGED, hash=found, publication=row["publication"])
            )
        if entries:
            tell_life(conn, row, frozen, hashes)
    return FORGED


def tell_life(
    conn: Connection, row: dict[str, object], frozen: bytes, hashes: tuple[str, ...]
) -> None:
    """Append the entries of a whole life, with all facts that they have."""
    step = conn.execute(select(publications).where(publications.c.id == row["publication"])).one()
    terms = {"received": row["received_at"], "due": row["due_at"]}
    received = {**terms, "content": row["content"], "targets": 1, "quarantine": False}
    planned = {"records": 1, "erased": ledger.digest_of_hashes(hashes)}
    facts = {
        "publication": step.id,
        "before": step.before,
        "after": step.after,
        "requests": [row["id"]],
        "facts": hashlib.sha256(step.facts.encode()).hexdigest(),
    }
    life: tuple[tuple[str, dict[str, object]], ...] = (
        (State.RECEIVED, received),
        (State.PLANNED, planned),
        (State.TRAINING, {}),
        (State.PUBLISHED, {"publication": step.id}),
        (State.PURGED, {"statement": hashlib.sha256(frozen).hexdigest()}),
    )
    for kind, said in life:
        append_plain(conn, str(kind), str(row["id"]), said)
        if kind == State.PUBLISHED:
            append_plain(conn, "PUBLICATION", None, facts)


def edited(statement: bytes, *path: str, value: object) -> bytes:
    """A statement in which one field of its predicate says something else, in its one encoding."""
    whole = json.loads(statement)
    place = whole["predicate"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    if path == ("state", "after"):
        [subject] = whole["subject"]
        subject["digest"] = {"hmac-sha256": value}
    return canonical_json(whole)
