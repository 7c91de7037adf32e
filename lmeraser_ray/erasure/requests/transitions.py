"""The queue's transitions of requests, each within a transaction that the caller holds
(`Lease.write`): state, moment and ledger entry in one.

Every UPDATE names the states that it starts from. A request that somebody refused or cancelled
meanwhile is left as it is and returned in `Moved.meanwhile`. `request.py` has the table of all
transitions.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, or_, select, update

from lmeraser_ray.erasure.requests.findings import Finding, findings_text, held_reason
from lmeraser_ray.erasure.requests.reasons import take_out_of_reasons
from lmeraser_ray.erasure.requests.request import Outcome, State
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import insert_new
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.database.tombstones import cover_hashes
from lmeraser_ray.storage.times import to_text, utcnow

CHUNK = 500
"""Ids in one statement."""
requests, targets, erased = tables.requests, tables.targets, tables.erased


@dataclass(frozen=True, slots=True)
class Moved:
    """What a transition did. done: the ids of requests that made it; meanwhile: those that were in
    another state, which are unchanged."""

    done: tuple[str, ...]
    meanwhile: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErasedRecord:
    """A record that a request removes. traces: what the absence scan looks for, in the scan's own
    encoding; subject: the keyed hash of its subject; test: whether nothing was trained on it, since
    it is held out for testing, None where nobody noted that."""

    hash: str
    name: str | None
    traces: bytes | None = None
    subject: str | None = None
    test: bool | None = None


LAST_MOMENT = select(tables.ledger.c.at).order_by(tables.ledger.c.seq.desc()).limit(1)
"""The moment of the last ledger entry."""
Outcomes = Mapping[tuple[TargetKind, str], Outcome]
"""What became of each target, by its kind and hash."""


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split ids into parts that fit into one statement."""
    return (ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK))


def move(
    connection: Connection,
    ids: Iterable[str],
    sources: Iterable[State],
    goal: State,
    values: Mapping[str, object],
    facts: ledger.Facts,
) -> Moved:
    """Change the requests that are in one of the states `sources` to `goal`, each with a ledger
    entry of that name. values: other columns to set; facts: of the ledger entries."""
    wanted, allowed = list(dict.fromkeys(ids)), requests.c.state.in_(list(sources))
    done: set[str] = set()
    for part in chunks(wanted):
        guard = and_(requests.c.id.in_(part), allowed)
        moved = (
            update(requests).where(guard).values(state=str(goal), **values).returning(requests.c.id)
        )
        done.update(connection.scalars(moved))
    in_order = tuple(name for name in wanted if name in done)
    ledger.append_all(connection, str(goal), [(name, facts) for name in in_order])
    return Moved(in_order, tuple(name for name in wanted if name not in done))


def now_text() -> str:
    """The present moment as the database stores it."""
    return to_text(utcnow())


def set_outcomes(connection: Connection, name: str, outcomes: Outcomes) -> None:
    """Set the outcomes of a request's targets. Those that `outcomes` does not name keep theirs."""
    if not outcomes:
        return
    where = and_(
        targets.c.request_id == name,
        targets.c.what == bindparam("of"),
        targets.c.hash == bindparam("is"),
    )
    rows = [
        {"of": what, "is": found, "became": outcome} for (what, found), outcome in outcomes.items()
    ]
    connection.execute(update(targets).where(where).values(outcome=bindparam("became")), rows)


def plan(
    connection: Connection, name: str, records: Sequence[ErasedRecord], outcomes: Outcomes
) -> Moved:
    """RECEIVED → PLANNED: store the records that the request removes, and set tombstones over them
    and over the subjects that the request names.

    outcomes: of targets that the plan settles (`already`); the others stay open. A request that was
    planned before, failed and was retried keeps the records of its first plan: the absence scan
    still looks for those that have left since, and for both pictures of one that came back with
    another picture.
    """
    held = select(erased.c.hash).where(erased.c.request_id == name)
    hashes = {*connection.scalars(held), *(record.hash for record in records)}
    facts = {"records": len(records), "erased": ledger.digest_of_hashes(hashes)}
    moved = move(
        connection,
        [name],
        [State.RECEIVED],
        State.PLANNED,
        {"planned_at": now_text(), "reason": None},
        facts,
    )
    if moved.done:
        rows: list[dict[str, object]] = [
            {
                "request_id": name,
                "hash": record.hash,
                "name": record.name,
                "needles": record.traces,
                "subject": record.subject,
                "test": record.test,
            }
            for record in records
        ]
        note_again(connection, name, records)
        insert_new(connection, erased, rows)
        set_outcomes(connection, name, outcomes)
        version = connection.scalar(select(requests.c.secret).where(requests.c.id == name)) or 1
        at = str(connection.scalar(LAST_MOMENT))  # of the entry PLANNED: the period runs from it
        cover_hashes(connection, held_by(connection, name), secret=version, at=at)
    return moved


def note_again(connection: Connection, name: str, records: Sequence[ErasedRecord]) -> None:
    """For live records that an earlier plan of the request holds: mark them as not yet removed,
    keep the old traces beside the new ones, and note as a test record only what always was one."""
    columns = (erased.c.hash, erased.c.needles, erased.c.test)
    noted = select(*columns).where(erased.c.request_id == name)
    known = {row.hash: row for row in connection.execute(noted)}
    for record in records:
        if record.hash in known:
            old, new = bytes(known[record.hash].needles or b""), record.traces or b""
            which = (erased.c.request_id == name) & (erased.c.hash == record.hash)
            connection.execute(
                update(erased)
                .where(which)
                .values(
                    needles=old if new in old else old + new,
                    publication=None,
                    test=known[record.hash].test and record.test,
                )
            )


def held_by(connection: Connection, name: str) -> set[str]:
    """The hashes that a planned request keeps tombstones over: those of its records, and of its
    targets that the workspace held."""
    found = set(connection.scalars(select(erased.c.hash).where(erased.c.request_id == name)))
    named = select(targets.c.hash).where(
        targets.c.request_id == name, targets.c.outcome.in_(["open", "removed"])
    )
    return found | set(connection.scalars(named))


def refuse_unknown(connection: Connection, name: str, reason: str, outcomes: Outcomes) -> Moved:
    """RECEIVED → REFUSED, because the request names ids that the workspace never held. reason:
    without ids. The request's names are wiped."""
    moved = move(
        connection,
        [name],
        [State.RECEIVED],
        State.REFUSED,
        {"closed_at": now_text(), "reason": reason},
        {"because": "unknown"},
    )
    set_outcomes(connection, name, outcomes if moved.done else {})
    wipe_names(connection, moved.done)
    return moved


def begin_training(connection: Connection, ids: Sequence[str]) -> Moved:
    """PLANNED → TRAINING."""
    return move(connection, ids, [State.PLANNED], State.TRAINING, {"training_at": now_text()}, {})


def replan(connection: Connection, ids: Sequence[str]) -> Moved:
    """TRAINING → PLANNED: the retrain was given up, or ended with its queue; it begins again."""
    return move(connection, ids, [State.TRAINING], State.PLANNED, {}, {})


def set_published(connection: Connection, publication: int, ids: Sequence[str]) -> Moved:
    """PLANNED or TRAINING → PUBLISHED, by the publication of this number. The outcome of open
    targets becomes `removed`."""
    values = {"published_at": now_text(), "publication": publication}
    moved = move(
        connection,
        ids,
        [State.PLANNED, State.TRAINING],
        State.PUBLISHED,
        values,
        {"publication": publication},
    )
    for part in chunks(moved.done):
        was_open = and_(targets.c.request_id.in_(part), targets.c.outcome == "open")
        connection.execute(update(targets).where(was_open).values(outcome="removed"))
        by_none = and_(erased.c.request_id.in_(part), erased.c.publication.is_(None))
        connection.execute(update(erased).where(by_none).values(publication=publication))
    return moved


def set_purged(connection: Connection, name: str, statement: bytes) -> Moved:
    """PUBLISHED → PURGED, with the frozen statement that will be signed."""
    return move(
        connection,
        [name],
        [State.PUBLISHED],
        State.PURGED,
        {"purged_at": now_text(), "statement": statement, "findings": None, "reason": None},
        {"statement": hashlib.sha256(statement).hexdigest()},
    )


def fail(connection: Connection, name: str, reason: str) -> Moved:
    """RECEIVED, PLANNED or TRAINING → FAILED. reason: without ids. Names and tombstones stay: a
    retry needs them."""
    sources = [State.RECEIVED, State.PLANNED, State.TRAINING]
    return move(
        connection, [name], sources, State.FAILED, {"closed_at": now_text(), "reason": reason}, {}
    )


def hold_back(connection: Connection, name: str, findings: Sequence[Finding]) -> None:
    """Keep with a PUBLISHED request what the absence scan found of its records."""
    held = {"findings": findings_text(findings), "reason": held_reason(findings)}
    still = and_(requests.c.id == name, requests.c.state == State.PUBLISHED)
    connection.execute(update(requests).where(still).values(held))


def count_attempt(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Count one more attempt for each request in PLANNED or TRAINING. Returns the new counts by id;
    requests in other states are left out."""
    counted: dict[str, int] = {}
    for part in chunks(list(dict.fromkeys(ids))):
        guard = and_(
            requests.c.id.in_(part), requests.c.state.in_(State.where(lambda s: s.is_in_work))
        )
        raised = (
            update(requests)
            .where(guard)
            .values(attempts=requests.c.attempts + 1)
            .returning(requests.c.id, requests.c.attempts)
        )
        counted.update((row.id, row.attempts) for row in connection.execute(raised))
    return counted


def wipe_names(connection: Connection, ids: Sequence[str]) -> int:
    """Set the ids and the traces of these requests to null, and take the ids out of all typed
    reasons; the keyed hashes stay. Returns how many rows were changed.

    The caller knows that nothing needs them any more, and calls `Database.vacuum_names` after the
    COMMIT.
    """
    wiped, names = 0, set[str]()
    for part in chunks(list(ids)):
        for table in (targets, erased):
            mine = and_(table.c.request_id.in_(part), table.c.name.is_not(None))
            names.update(connection.scalars(select(table.c.name).where(mine)))
        named = and_(targets.c.request_id.in_(part), targets.c.name.is_not(None))
        wiped += connection.execute(update(targets).where(named).values(name=None)).rowcount
        known = and_(
            erased.c.request_id.in_(part),
            or_(erased.c.name.is_not(None), erased.c.needles.is_not(None)),
        )
        wiped += connection.execute(
            update(erased).where(known).values(name=None, needles=None)
        ).rowcount
    take_out_of_reasons(connection, names)
    return wiped
