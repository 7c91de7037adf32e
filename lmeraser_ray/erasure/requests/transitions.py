"""The transitions of the queue, each within a transaction that the caller holds (`Lease.write`):
state, moments and ledger in one.

Each guards the state in its UPDATE. A request that was refused or cancelled meanwhile is not
touched and comes back in `Moved.meanwhile`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, or_, select, update

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
    """What a transition did. done: the requests that made it; meanwhile: those that others had
    moved before, which were not touched."""

    done: tuple[str, ...]
    meanwhile: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErasedRecord:
    """A record that a request removes. needles: what the absence scan looks for, as bytes that only
    the scan understands."""

    hash: str
    name: str | None
    needles: bytes | None = None


Outcomes = Mapping[tuple[TargetKind, str], Outcome]
"""What became of each target, by its kind and hash."""


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Parts that fit into one statement."""
    return (ids[at : at + CHUNK] for at in range(0, len(ids), CHUNK))


def move(
    connection: Connection,
    ids: Iterable[str],
    sources: Iterable[State],
    goal: State,
    values: Mapping[str, object],
    facts: ledger.Facts,
) -> Moved:
    """Bring the requests that are in one of the states `sources` to `goal`, with a ledger entry of
    that name each."""
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
    """This moment, as the database keeps it."""
    return to_text(utcnow())


def set_outcomes(connection: Connection, name: str, outcomes: Outcomes) -> None:
    """Note what became of a request's targets; those that `outcomes` does not name stay as they
    are."""
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
    """RECEIVED → PLANNED: the records that the request removes, and tombstones over them and over
    the subjects that it names.

    outcomes: of targets that are settled by that (`already`); the others stay open. Where it was
    planned before, failed and is tried again, what it noted then stays: records that have left the
    live ones meanwhile are still to be looked for, and of one that came back with another picture
    both.
    """
    facts = {"records": len(records)}
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
                "needles": record.needles,
            }
            for record in records
        ]
        note_again(connection, name, records)
        insert_new(connection, erased, rows)
        set_outcomes(connection, name, outcomes)
        cover_hashes(connection, held_by(connection, name))
    return moved


def note_again(connection: Connection, name: str, records: Sequence[ErasedRecord]) -> None:
    """Of live records that the request noted before, in a state that they may have left: they leave
    again, and have both needles."""
    noted = select(erased.c.hash, erased.c.needles).where(erased.c.request_id == name)
    known = {row.hash: bytes(row.needles or b"") for row in connection.execute(noted)}
    for record in records:
        if record.hash in known:
            old, new = known[record.hash], record.needles or b""
            which = (erased.c.request_id == name) & (erased.c.hash == record.hash)
            connection.execute(
                update(erased)
                .where(which)
                .values(needles=old if new in old else old + new, publication=None)
            )


def held_by(connection: Connection, name: str) -> set[str]:
    """The hashes that a planned request keeps tombstones over: of its records, and of the targets
    that it found."""
    found = set(connection.scalars(select(erased.c.hash).where(erased.c.request_id == name)))
    named = select(targets.c.hash).where(
        targets.c.request_id == name, targets.c.outcome.in_(["open", "removed"])
    )
    return found | set(connection.scalars(named))


def refuse_unknown(connection: Connection, name: str, reason: str, outcomes: Outcomes) -> Moved:
    """RECEIVED → REFUSED, because it names what the workspace never held. reason: without ids. Its
    names go."""
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
    """TRAINING → PLANNED: their retrain was given up, or died with its queue, and will begin
    again."""
    return move(connection, ids, [State.TRAINING], State.PLANNED, {}, {})


def set_published(connection: Connection, publication: int, ids: Sequence[str]) -> Moved:
    """PLANNED or TRAINING → PUBLISHED, by the publication of this number; open targets are removed
    from here on."""
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
        {"purged_at": now_text(), "statement": statement},
        {},
    )


def fail(connection: Connection, name: str, reason: str) -> Moved:
    """RECEIVED, PLANNED or TRAINING → FAILED. reason: without ids. The names stay, since a retry
    needs them, and so do the tombstones."""
    sources = [State.RECEIVED, State.PLANNED, State.TRAINING]
    return move(
        connection, [name], sources, State.FAILED, {"closed_at": now_text(), "reason": reason}, {}
    )


def fail_purged(connection: Connection, ids: Sequence[str], reason: str) -> Moved:
    """PURGED → FAILED: a trace was found after the names were wiped. The frozen statement, which
    says otherwise, is dropped; a person has to look, since nobody knows any more what to look
    for."""
    values = {"statement": None, "reason": reason}
    return move(connection, ids, [State.PURGED], State.FAILED, values, {})


def count_attempt(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Count one more attempt for each request in PLANNED or TRAINING. Returns how many each has
    now; others are left out."""
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
    """Take the ids and the needles of these requests out of the database; the keyed hashes stay.
    Returns how many rows lost something.

    The caller makes sure that nobody needs them any more, and calls `Database.vacuum_names` after
    the COMMIT.
    """
    wiped = 0
    for part in chunks(list(ids)):
        named = and_(targets.c.request_id.in_(part), targets.c.name.is_not(None))
        wiped += connection.execute(update(targets).where(named).values(name=None)).rowcount
        known = and_(
            erased.c.request_id.in_(part),
            or_(erased.c.name.is_not(None), erased.c.needles.is_not(None)),
        )
        wiped += connection.execute(
            update(erased).where(known).values(name=None, needles=None)
        ).rowcount
    return wiped
