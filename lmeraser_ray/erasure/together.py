"""Submissions that come at once are committed together, by whichever of their processes is at the front.

One COMMIT costs several syncs of the disk, and SQLite makes one at a time: 32 clients would wait for 32. So each client appends what it wants
to insert to the file `requests.waiting`, and tries to lock that file. Who gets the lock is at the front, and inserts all that is in the
file. The others wait until the lock is free, look whether theirs is committed, and try again where it is not: one at the front that comes
after theirs was appended carries it, so that nobody waits for more than two COMMITs.

The file is a help, and nothing is promised by it: a client returns only when it has seen its request in the database. What is not plain (a
key or a quota that may refuse it) is left to its owner, who meets the front too. The file holds ids until the next one at the front, or
`Database.vacuum_names`, empties it.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from lmeraser_ray.erasure import ledger
from lmeraser_ray.erasure.request import UNANSWERED, State, Target
from lmeraser_ray.state import tables
from lmeraser_ray.state.files import disk_errors

LARGEST = 1 << 16
"""Bytes of a submission that others are asked to carry."""
MOST = 200
"""Submissions in one transaction."""
PAUSE = 0.002
"""Seconds between two looks of one who waits; the looks themselves wait for the COMMIT that is under way."""
requests = tables.requests.c


@dataclass(frozen=True, slots=True)
class Submission:
    """A request before its COMMIT. row: its columns; quota: as `Requests.submit`; facts: for the ledger."""

    row: dict[str, Any]
    targets: tuple[Target, ...]
    facts: dict[str, Any]
    quota: int

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.row["id"])

    def to_line(self) -> bytes:
        """One line of JSON."""
        listed = [[target.what, target.name, target.hash] for target in self.targets]
        return json.dumps([self.row, listed, self.facts, self.quota], separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Submission | None":
        """What `to_line` wrote; None of a line that is not whole, since its writer died or another wrote into it."""
        try:
            row, listed, facts, quota = json.loads(line)
            found = tuple(Target(what, name, hashed, "open") for what, name, hashed in listed)
            whole = set(row) == COLUMNS and len({(target.what, target.hash) for target in found}) == len(found)
        except (ValueError, TypeError):
            return None
        return cls(row, found, facts, quota) if whole else None


COLUMNS = {"id", "idempotency", "content", "submitter", "state", "quarantine", "received_at", "due_at", "attempts"}


def post(path: Path, submission: Submission) -> None:
    """Append a submission to the file `path`, for whoever has the turn. A large one is left to its owner."""
    line = submission.to_line()
    if len(line) > LARGEST:
        return
    with disk_errors(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


@contextmanager
def front(path: Path) -> Iterator[bool]:
    """Be at the front, if nobody is. Yields whether."""
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first = True
        except BlockingIOError:
            first = False
        yield first
    finally:
        os.close(handle)


def take(path: Path) -> list[Submission]:
    """Empty the file `path`. Returns the submissions that were in it, as far as they are whole. Only at the front."""
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            data = os.pread(handle, MOST * LARGEST, 0)
            os.ftruncate(handle, 0)  # what came since the reading is lost, and appended again
        finally:
            os.close(handle)
    lines = data.split(b"\n")
    return [found for found in map(Submission.from_line, lines[:MOST]) if found is not None]


def insert_all(connection: Connection, submissions: Sequence[Submission]) -> None:
    """Insert submissions that nothing speaks against, each with its ledger entry."""
    connection.execute(insert(tables.requests), [submission.row for submission in submissions])
    rows = [
        {"request_id": each.id, "what": target.what, "hash": target.hash, "name": target.name, "outcome": target.outcome}
        for each in submissions
        for target in each.targets
    ]
    connection.execute(insert(tables.targets), rows)
    ledger.append_all(connection, str(State.RECEIVED), [(each.id, each.facts) for each in submissions])


def plain(connection: Connection, own: Submission, others: Sequence[Submission]) -> list[Submission]:
    """`own`, and those of the others that can be inserted with it: not there yet, their key is new, and within their quota."""
    ids = {each.id: each for each in others if each.id != own.id}
    if not ids:
        return [own]
    there = set(connection.scalars(select(requests.id).where(requests.id.in_(list(ids)))))
    left = [each for name, each in ids.items() if name not in there]
    keys = [each.row["idempotency"] for each in left if each.row["idempotency"]]
    used = set(connection.scalars(select(requests.idempotency).where(requests.idempotency.in_(keys)))) if keys else set()
    counts = unanswered(connection, {each.row["submitter"] for each in left if each.quota} | {own.row["submitter"]})
    chosen = [own]
    used.add(own.row["idempotency"])
    counts[own.row["submitter"]] += 1
    for each in left:
        key, who = each.row["idempotency"], each.row["submitter"]
        if (key is not None and key in used) or (each.quota and counts[who] >= each.quota):
            continue
        used.add(key)
        counts[who] += 1
        chosen.append(each)
    return chosen


def unanswered(connection: Connection, submitters: set[str]) -> Counter[str]:
    """How many unanswered requests each of these submitters has."""
    waits = requests.submitter.in_(sorted(submitters)) & requests.state.in_(sorted(map(str, UNANSWERED)))
    found = connection.execute(select(requests.submitter, func.count()).where(waits).group_by(requests.submitter))
    return Counter({who: count for who, count in found})
