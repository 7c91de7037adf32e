"""What must hold after every step, and at the end. Nothing here asks the absence scan, the planner
or the audit: the published rows, the files' bytes and the database's rows are read plainly.

- An acknowledged request is in the database, and names what it named.
- Each request goes through the states in their order, and ends CERTIFIED, or REFUSED or CANCELLED
  because somebody decided so or because it names what was never there. One certificate, one entry
  of the ledger; neither changes any more.
- Nothing of a certified record is in the published state, in a file, or in a row.
- The published state is, byte for byte, what training on its records alone gives, and all that it
  names is there.
- The ledger is one chain.
"""

import hashlib
import io
import json
from contextlib import closing
from dataclasses import dataclass, field

import pyarrow.parquet as pq

from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.database import ledger
from tests.simulation.disk import ROOT
from tests.simulation.oracle import fingerprint_of
from tests.simulation.scenario import UNKNOWN
from tests.simulation.world import World

STEPS = {
    "": {"RECEIVED"},
    "RECEIVED": {"CANCELLED", "PLANNED", "REFUSED", "FAILED"},
    "PLANNED": {"TRAINING", "PUBLISHED", "REFUSED", "FAILED"},
    "TRAINING": {"PLANNED", "PUBLISHED", "FAILED"},
    "PUBLISHED": {"PURGED"},
    "PURGED": {"CERTIFIED"},
    "FAILED": {"RECEIVED", "PUBLISHED", "REFUSED"},
}
TELLING = ("person-", "er-", "deadbeef")
"""How subjects begin that are no words of the program, nor of everybody."""
CLOSED = ("CERTIFIED", "REFUSED", "CANCELLED")
_live_of: dict[tuple[int, str], frozenset[str]] = {}


@dataclass
class Row:
    """A request as it was seen last. records: that it names, with those of its subjects; decided:
    what a person has asked for."""

    state: str
    records: frozenset[str]
    unknown: bool
    targets: frozenset[str]
    proof: tuple[bytes | None, bytes | None] = (None, None)
    decided: set[str] = field(default_factory=set)
    forged: bool = False


class Broken(Exception):  # noqa: N818 - it says what is broken
    """An invariant does not hold."""


class Watch:
    """Looks at a world. acknowledged: ids of requests, each with the hashes of its targets."""

    def __init__(self, world: World) -> None:
        self.world, self.rows = world, dict[str, Row]()
        self.acknowledged: dict[str, frozenset[str]] = {}
        self.broken: str | None = None
        self.traced: frozenset[str] = frozenset()
        """Records of which something is in a place that no purge reaches."""
        self.forged: set[str] = set()
        self.ledger_forged = False
        """Whether somebody has added entries to the ledger: then nothing more is signed."""
        self.live = world.population.all
        self._pointer, self._manifest = b"", ""
        self._end = (0, ledger.GENESIS)
        names = world.names()
        self._hash_of = {
            each.record: names.hash("record", each.record) for each in world.population.people
        }
        people = world.population.people
        self._known = {self._hash_of[each.record]: frozenset([each.record]) for each in people}
        for each in people:
            key = names.hash("subject", each.subject)
            self._known[key] = self._known.get(key, frozenset()) | {each.record}
        self.unknown = names.hash("record", UNKNOWN)
        self._tables = world.raw

    def __call__(self, what: str) -> None:
        """Look. What is broken is kept, and ends the simulation after this step."""
        if self.broken:
            return
        try:
            self._look()
        except Broken as error:
            self.broken = str(error)

    def object(self, what: str) -> None:
        """Note what is broken, if nothing was before."""
        self.broken = self.broken or what

    def _look(self) -> None:
        self._look_at_state()
        if not self._tables.in_transaction:
            self._look_at_ledger()
            self._look_at_requests()

    def _look_at_state(self) -> None:
        found = self.world.disk.files.get(f"{ROOT}/CURRENT")
        data = found.data if found else b""
        if data == self._pointer:
            return
        key, _, sha256 = data.decode().split("\n")[0].partition("-")
        self._manifest = f"objects/manifests/{key}-{sha256}.json"
        manifest = self.manifest()
        if manifest.fingerprint != key:
            raise Broken("the pointer names another fingerprint than its manifest has")
        self._look_at_objects(manifest)
        known = self.world.population.kind, key
        if known not in _live_of:
            live = frozenset(self._read_live(manifest))
            if fingerprint_of(self.world.population, live) != key:
                raise Broken("the published state is not what training on its records alone gives")
            _live_of[known] = live
        self.live, self._pointer = _live_of[known], data
        self._refuse_certified()

    def manifest(self) -> Manifest:
        """The published manifest."""
        return Manifest.from_bytes(self._read(self._manifest))

    def _read(self, name: str) -> bytes:
        found = self.world.disk.files.get(f"{ROOT}/{name}")
        if found is None:
            raise Broken(f"the published state names {name[:30]}…, which is not there")
        return found.data

    def _look_at_objects(self, manifest: Manifest) -> None:
        for item in manifest.objects():
            if hashlib.sha256(self._read(f"objects/{item.name}")).hexdigest() != item.sha256:
                raise Broken(f"{item.kind} of the published state have other bytes than promised")

    def _read_live(self, manifest: Manifest) -> list[str]:
        return [
            name
            for state in manifest.buckets
            for name in pq.read_table(
                io.BytesIO(self._read(f"objects/{state.bucket.records.name}"))
            )["record_id"].to_pylist()
        ]

    def _refuse_certified(self) -> None:
        for name, row in self.rows.items():
            if row.state == "CERTIFIED" and row.records & self.live:
                raise Broken(f"{name} is CERTIFIED and a record of it is published")

    def _look_at_ledger(self) -> None:
        seq, end = self._end
        rows = self._tables.execute(
            "SELECT seq, previous, entry, hash FROM ledger WHERE seq >= ? ORDER BY seq", (seq,)
        ).fetchall()
        if seq and (not rows or rows[0][3] != end):
            raise Broken("the ledger has lost or changed what it had")
        for number, previous, entry, found in rows[1 if seq else 0 :]:
            if number != seq + 1 or previous != end or f'"seq":{number}}}' not in entry:
                raise Broken(f"entry {number} of the ledger does not follow {seq}")
            seq, end = number, found
        self._end = seq, end

    def _look_at_requests(self) -> None:
        found = self._tables.execute(
            "SELECT id, state, statement, envelope, reason FROM requests"
        ).fetchall()
        for name, state, statement, envelope, reason in found:
            row = self.rows.get(name) or self._new(name, state)
            if row.state != state:
                self._look_at_step(name, row, state, reason or "")
                row.state = state
                if state == "CERTIFIED":
                    self._look_at_certificate(name, row, statement, envelope)
                    row.proof = statement, envelope
            elif state == "CERTIFIED" and row.proof != (statement, envelope):
                raise Broken(f"the certificate of {name} has changed")
        here = {name for name, *_ in found}
        for name in self.acknowledged:
            if name not in here:
                raise Broken(f"the acknowledged request {name} is lost")

    def _new(self, name: str, state: str) -> Row:
        hashes = frozenset(
            value
            for (value,) in self._tables.execute(
                "SELECT hash FROM targets WHERE request_id = ?", (name,)
            )
        )
        records = frozenset[str]().union(*(self._known.get(each, ()) for each in hashes))
        row = Row("", records, self.unknown in hashes, hashes, forged=name in self.forged)
        if row.forged:
            row.state = "PURGED"
        self.rows[name] = row
        return row

    def _look_at_step(self, name: str, row: Row, state: str, reason: str) -> None:
        if state not in STEPS.get(row.state, ()):
            raise Broken(f"{name} went from {row.state or 'nothing'} to {state}: {reason}")
        right = {
            "REFUSED": row.unknown or "refuse" in row.decided,
            "CANCELLED": "cancel" in row.decided,
            "FAILED": self.world.may_fail,
        }
        if not right.get(state, True):
            raise Broken(f"{name} is {state} for no right reason: {reason}")

    def _look_at_certificate(
        self, name: str, row: Row, statement: bytes | None, envelope: bytes | None
    ) -> None:
        self._look_for_entry(name)
        try:
            said = check_certificate(bytes(envelope or b""), self.world.keys.public_keys())
        except VerificationError as error:
            raise Broken(f"the certificate of {name} does not verify: {error}") from error
        if said.statement.request.id != name or said.signed.payload != statement:
            raise Broken(f"the certificate of {name} is about something else")
        if row.unknown or row.forged:
            raise Broken(f"{name} is CERTIFIED, which names what was never there or was forged")
        hashes = {self._hash_of[each] for each in row.records}
        if not set(said.statement.erased.records) <= hashes:
            raise Broken(f"the certificate of {name} is about records that it does not name")
        if row.records & self.live:
            raise Broken(f"{name} is CERTIFIED and a record of it is published")
        self._look_for_traces(name, row.records)
        for each in self.world.population.people:
            if each.record in row.records:
                self._look_for_name(name, each.subject, row.records)

    def _look_for_entry(self, name: str) -> None:
        told = self._tables.execute(
            "SELECT count(*) FROM ledger WHERE request_id = ? AND kind = 'CERTIFIED'", (name,)
        ).fetchone()[0]
        if told != 1:
            raise Broken(f"{name} is CERTIFIED with {told} entries of the ledger")

    def _look_for_traces(self, name: str, records: frozenset[str]) -> None:
        """Search every file, and the database where no open request still names the records."""
        kept = self._tables.execute(
            "SELECT (SELECT count(*) FROM targets WHERE request_id = ? AND name IS NOT NULL) + "
            "(SELECT count(*) FROM erased WHERE request_id = ? AND "
            "(name IS NOT NULL OR needles IS NOT NULL))",
            (name, name),
        ).fetchone()[0]
        if kept:
            raise Broken(f"{name} is CERTIFIED and its ids or traces are in the database")
        waiting = frozenset[str]().union(
            *(row.records for row in self.rows.values() if row.state not in CLOSED)
        )
        data = {path: inode.data for path, inode in self.world.disk.files.items()}
        image = self.world.raw.serialize()
        for each in self.world.population.people:
            if each.record not in records:
                continue
            for what, trace in each.traces.items():
                for path, content in data.items():
                    if trace in content:
                        where = path.removeprefix(f"{ROOT}/").partition("-")[0]
                        raise Broken(f"{name} is CERTIFIED and a {what} of it is in {where}")
                if each.record not in waiting and trace in image:
                    raise Broken(f"{name} is CERTIFIED and a {what} of it is in the database")

    def _look_for_name(self, name: str, subject: str, records: frozenset[str]) -> None:
        """Look for a subject in what somebody has typed, once all of its records are gone by this
        request. (Of several requests, none knows that it is the last.)"""
        known = self.world.population.records_of(frozenset(), frozenset([subject]))
        typed = self.world.disk.files[f"{ROOT}/configuration.json"].data
        told = subject.startswith(TELLING) and f"/home/{subject}/".encode() in typed
        if told and known <= records and not known & self.live:
            raise Broken(f"{name} is CERTIFIED and its subject is in the configuration")

    def open(self) -> list[str]:
        """The requests that wait for something, those apart that a trace holds back, or a ledger
        that was forged."""
        if self.ledger_forged:
            return []
        return [
            name
            for name, row in self.rows.items()
            if row.state not in CLOSED and not row.forged and not row.records & self.traced
        ]

    def look_at_end(self) -> None:
        """What must hold when nothing is left to do."""
        self("the end")
        if not self.broken:
            try:
                self._look_at_end()
            except Broken as error:
                self.broken = str(error)

    def _look_at_end(self) -> None:
        waiting = self.open()
        if waiting:
            states = {name: self.rows[name].state for name in waiting}
            raise Broken(f"these requests are not done in time: {json.dumps(states)}")
        certified = frozenset[str]().union(
            *(row.records for row in self.rows.values() if row.state == "CERTIFIED")
        )
        given_up = frozenset[str]().union(
            *(row.records for row in self.rows.values() if row.state != "CERTIFIED")
        )
        gone = self.world.population.all - self.live
        if not certified <= gone <= certified | given_up:
            raise Broken(f"{len(gone)} records are gone, {len(certified)} are certified to be")
        for name, row in self.rows.items():
            if row.state == "CERTIFIED":
                self._look_for_entry(name)
                self._look_for_traces(name, row.records)
        self._look_at_objects(self.manifest())
        if self.ledger_forged:
            return
        with closing(self.world.open()) as database, database.read() as connection:
            for what in ledger.check(connection):
                raise Broken(what)
