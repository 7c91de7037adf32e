"""Submissions that come at once are committed together, by whichever of their processes is at the
front.

One COMMIT costs several syncs of the disk, and SQLite makes one at a time: 32 clients would wait
for 32. So there is a front: the lock of the file `requests.waiting`. Who finds it free inserts, in
one transaction, its own submission and all that are in the file, and then tells their owners. Who
finds it taken appends its submission, with the address of a mailbox, and waits for that word (or a
little while; the one at the front may have died). So nobody waits for more than two COMMITs.

The file promises nothing: a client returns when it has committed its request, found it in the
database, or got its id as the word of one who has committed it (the id is random and known to
nobody else). What is not plain (a key or a quota that may refuse it) is left to its owner, who
comes to the front too. The file holds ids until the next one at the front, or
`Database.vacuum_names`, empties it.
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, func, insert, select

from lmeraser_ray.erasure.requests.request import UNANSWERED, State, Target
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.file_lock import LONGEST, try_locked
from lmeraser_ray.storage.files import disk_errors

T = TypeVar("T")
LARGEST = 1 << 16
"""Bytes of a submission that others are asked to carry."""
MOST = 200
"""Submissions in one transaction."""
PAUSE = 0.1
"""Seconds after which one who waits looks without having been told to."""
LOOK = "?"
"""The word for: not committed with the others, come to the front."""
requests = tables.requests.c


@dataclass(frozen=True, slots=True)
class Submission:
    """A request before its COMMIT. row: its columns; quota: as `Requests.submit`; facts: for the
    ledger; mailbox: where its owner waits."""

    row: dict[str, Any]
    targets: tuple[Target, ...]
    facts: dict[str, Any]
    quota: int
    mailbox: str = ""

    @property
    def id(self) -> str:
        """The request's id."""
        return str(self.row["id"])

    def to_line(self) -> bytes:
        """One line of JSON."""
        listed = [[target.what, target.name, target.hash] for target in self.targets]
        return (
            json.dumps(
                [self.row, listed, self.facts, self.quota, self.mailbox], separators=(",", ":")
            ).encode()
            + b"\n"
        )

    @classmethod
    def from_line(cls, line: bytes) -> "Submission | None":
        """What `to_line` wrote; None of a line that is not whole, since its writer died or another
        wrote into it."""
        try:
            row, listed, facts, quota, mailbox = json.loads(line)
            found = tuple(Target(what, name, hashed, "open") for what, name, hashed in listed)
            whole = set(row) == COLUMNS and len(
                {(target.what, target.hash) for target in found}
            ) == len(found)
        except (ValueError, TypeError):
            return None
        return cls(row, found, facts, quota, mailbox) if whole else None


COLUMNS = {
    "id",
    "idempotency",
    "content",
    "submitter",
    "state",
    "quarantine",
    "received_at",
    "due_at",
    "attempts",
}


@dataclass
class Round:
    """What one at the front found in the file `path` (None: nobody waits), and what of it is
    committed (by id)."""

    path: Path | None
    found: list[Submission] = field(default_factory=list)
    committed: frozenset[str] = frozenset()

    def gather(self) -> list[Submission]:
        """Take what is in the file."""
        self.found = take(self.path) if self.path else []
        return self.found


Insert = Callable[[Round], T]
"""Inserts one's own submission, and those of `Round.gather` that are plain, and notes them in
`Round.committed` after the COMMIT."""


def together(
    path: Path, mine: Submission, *, insert: Insert[T], there: Callable[[str], bool]
) -> T | None:
    """Have `mine` committed, by oneself at the front or by another. Returns what `insert` returned,
    None where another did it.

    path: the file of those who wait; there: whether the request of an id is committed. Errors:
    those of `insert`; `ExecutionError` where the one at the front does not come to an end.
    """
    done = try_front(path, insert)
    if done is not None:
        return done
    end = time.monotonic() + LONGEST
    with Mailbox() as box:
        post(path, mine, box)
        while time.monotonic() < end:
            done = try_front(path, insert)
            if done is not None:
                return done
            word = box.wait()
            if word == mine.id:
                return None
            if word is None:
                if there(mine.id):
                    return None
                post(path, mine, box)  # it may have been lost in `take`, or with one who died
    raise ExecutionError(
        f"Another process held {path} for {LONGEST:g} s: it may be stopped. End it and submit "
        "again (with the same --key, if it has one)."
    )


def try_front(path: Path, insert: Insert[T]) -> T | None:
    """`insert` at the front if nobody is there, and tell the others. Returns None where somebody
    is."""
    here, done = Round(path), None
    with try_locked(path) as (_, first):
        try:
            done = insert(here) if first else None
        finally:  # whatever came of one's own, those that were taken along must hear of theirs
            if here.found:
                tell(
                    (each.mailbox, each.id if each.id in here.committed else LOOK)
                    for each in here.found
                )
    if first:
        tell(
            (each.mailbox, LOOK) for each in take(path, empty=False)[:1]
        )  # who came too late for this round begins the next
    return done


class Mailbox:
    """Where one who waits gets its word: a datagram socket in Linux's abstract namespace, without a
    file. Elsewhere only time passes."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(PAUSE)
        try:
            self._socket.bind("")
        except OSError:  # no abstract namespace here
            self.address = ""
        else:
            self.address = self._socket.getsockname().hex()

    def __enter__(self) -> "Mailbox":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def wait(self) -> str | None:
        """Wait for a word, `PAUSE` seconds at most. Returns it: the id of a request that is
        committed, or `LOOK`."""
        try:
            return self._socket.recv(256).decode(errors="replace")
        except TimeoutError:
            return None


def tell(words: Iterable[tuple[str, str]]) -> None:
    """Send words to mailboxes. One that is gone, or in another container, is not told; it looks by
    itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        for address, word in words:
            with suppress(OSError, ValueError):
                sender.sendto(word.encode(), bytes.fromhex(address))


def post(path: Path, submission: Submission, box: Mailbox) -> None:
    """Append a submission to the file `path`, for who is at the front. A large one is left to its
    owner."""
    line = replace(submission, mailbox=box.address).to_line()
    if len(line) > LARGEST:
        line = b""
    with disk_errors(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, line)
        finally:
            os.close(handle)


def take(path: Path, *, empty: bool = True) -> list[Submission]:
    """The submissions that are in the file `path`, as far as they are whole. empty: empty it, which
    is for who is at the front."""
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            data = os.pread(handle, MOST * LARGEST, 0)
            if empty:
                os.ftruncate(
                    handle, 0
                )  # what came since the reading is lost, and its owner appends it again
        finally:
            os.close(handle)
    lines = data.split(b"\n")
    return [found for found in map(Submission.from_line, lines[:MOST]) if found is not None]


NEW_REQUESTS, NEW_TARGETS = insert(tables.requests), insert(tables.targets)


def insert_all(connection: Connection, submissions: Sequence[Submission]) -> None:
    """Insert submissions that nothing speaks against, each with its ledger entry."""
    if not submissions:
        return
    connection.execute(NEW_REQUESTS, [submission.row for submission in submissions])
    rows = [
        {
            "request_id": each.id,
            "what": target.what,
            "hash": target.hash,
            "name": target.name,
            "outcome": target.outcome,
        }
        for each in submissions
        for target in each.targets
    ]
    connection.execute(NEW_TARGETS, rows)
    ledger.append_all(
        connection, str(State.RECEIVED), [(each.id, each.facts) for each in submissions]
    )


THERE = select(requests.id, requests.idempotency).where(
    requests.id.in_(bindparam("ids", expanding=True))
    | requests.idempotency.in_(bindparam("keys", expanding=True))
)
OPEN = (
    select(requests.submitter, func.count())
    .where(
        requests.submitter.in_(bindparam("who", expanding=True)),
        requests.state.in_(sorted(map(str, UNANSWERED))),
    )
    .group_by(requests.submitter)
)
"""Made once: making a statement takes as long as running it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What some submissions meet: ids and keys that are taken, and how many unanswered requests
    their submitters have."""

    ids: set[str]
    keys: set[str]
    open: Counter[str]

    @classmethod
    def read(cls, connection: Connection, submissions: Sequence[Submission]) -> "Standing":
        """As it is within a transaction."""
        ids, keys = (
            [each.id for each in submissions],
            [each.row["idempotency"] for each in submissions if each.row["idempotency"]],
        )
        there = connection.execute(THERE, {"ids": ids, "keys": keys}).all()
        who = sorted({each.row["submitter"] for each in submissions if each.quota})
        counts = connection.execute(OPEN, {"who": who}).all() if who else ()
        return cls(
            {row[0] for row in there},
            {row[1] for row in there if row[1]},
            Counter({row[0]: row[1] for row in counts}),
        )

    def holds(self, each: Submission) -> bool:
        """Whether the submission's id or its key is there."""
        return each.id in self.ids or each.row["idempotency"] in self.keys

    def full(self, each: Submission) -> bool:
        """Whether its submitter has used its quota up."""
        return bool(each.quota) and self.open[each.row["submitter"]] >= each.quota

    def take(self, each: Submission) -> bool:
        """Whether it can be inserted, together with all that were taken before it."""
        if self.holds(each) or self.full(each):
            return False
        self.ids.add(each.id)
        if each.row["idempotency"]:
            self.keys.add(each.row["idempotency"])
        self.open[each.row["submitter"]] += 1
        return True
