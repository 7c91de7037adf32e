"""Recompute what a frozen statement says, from the ledger, the rows and the published state.

    ledger ──► the request's life, its targets, its records, the statement's digest
    rows of publications, bound by the ledger ──► states, constituents, passes, numerics
    published manifest ──► configuration, backbone, constituents, live records

Each function yields what does not hold, in words that follow on "the statement of ID". Who can
write to the database, and has not the workspace's secret, can change rows; the entries of the
ledger, which are keyed, say what the rows were. Invariant: nothing that one of these functions
finds wrong is signed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.cross_checks import states_of
from lmeraser_ray.erasure.certificate.database_view import (
    RecordedProof,
    StateEntry,
    TargetRow,
    View,
)
from lmeraser_ray.erasure.certificate.statement import Statement, distinct, read_statement
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database.ledger import LedgerEntry, digest_of_hashes
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.digests import canonical_json, key_of
from lmeraser_ray.storage.times import from_text

LIFE = (State.RECEIVED, State.PLANNED, State.PUBLISHED, State.PURGED)
"""The states that a request is in, one after the other, before it is certified."""
SAME_MOMENT = timedelta(hours=1)
"""The most between a moment of a row and that of its entry, which are written together."""


@dataclass(frozen=True)
class PublishedRecords:
    """The published state, and the keyed hashes of the records and subjects that live in it."""

    manifest: Manifest
    hashes: frozenset[str]

    @classmethod
    def read(cls, folder: WorkspaceFolder, manifest: Manifest) -> "PublishedRecords":
        """Hash the id of every live record and subject."""
        index = RecordIndex.read(folder.store, [state.bucket for state in manifest.buckets])
        names, subjects, found = folder.names(), set[str](), set[str]()
        for record, subject in index.people():
            found.update(names.hashes("record", record))
            subjects.add(subject)
        found.update(each for subject in subjects for each in names.hashes("subject", subject))
        return cls(manifest, frozenset(found))


@dataclass(frozen=True)
class Recomputation:
    """Compares frozen statements with what is recomputed from a view of the database."""

    view: View
    names: Pseudonymizer
    published: PublishedRecords | None

    @cached_property
    def noted(self) -> dict[object, StateEntry]:
        """The entries of publications by their numbers."""
        return {
            change.entry.facts.get("publication"): change
            for change in self.view.changes
            if change.entry.kind == "PUBLICATION"
        }

    @cached_property
    def trainings(self) -> list[LedgerEntry]:
        """The entries of trainings."""
        return [entry for entry in self.view.entries if entry.kind == "TRAINED"]

    @cached_property
    def leading(self) -> frozenset[str | None]:
        """The states from which the ledger leads to the published one, itself included: to what it
        names last, or what a publication that was begun was to make of that."""
        changes, found = self.view.changes, set[str | None]()
        last = changes[-1].after if changes else None
        if self.view.state != last and (last, self.view.state) not in self.view.begun:
            return frozenset()
        for change, later in zip(reversed(changes), [None, *reversed(changes)], strict=False):
            if later and later.before not in (None, change.after):
                break
            found.add(change.after)
        return frozenset(found)

    def differences(self, proof: RecordedProof) -> list[str]:
        """What does not hold of the frozen statement of a purged request."""
        try:
            said = read_statement(proof.statement)
        except VerificationError:
            return ["is damaged"]
        entries = self.view.of_requests.get(proof.row.id, [])
        if said.request.id != proof.row.id:
            return ["is about another request"]
        if not in_order(entries):
            return ["is of a request that was not received, planned, published and purged in turn"]
        life = Life(entries, self.view.keyed)
        return [
            *self.against_ledger(said, proof, life),
            *against_rows(said, proof),
            *self.against_publications(said, proof, life),
            *self.against_published(said, proof, life),
        ]

    def against_ledger(self, said: Statement, proof: RecordedProof, life: "Life") -> Iterator[str]:
        """Compare statement and rows with the entries of the request."""
        yield from life.differences(proof)
        listed = sorted([target.what, target.hash] for target in proof.targets)
        contents = self.names.hashes("content", canonical_json(listed).decode())
        if life.received.facts.get("content") not in contents:
            yield "is of a request that names other records or subjects than were submitted"
        head = said.ledger
        if self.view.hashes.get(head.seq) != head.hash or head.seq >= life.purged.seq:
            yield "names a head of the ledger that there never was"

    def against_publications(
        self, said: Statement, proof: RecordedProof, life: "Life"
    ) -> Iterator[str]:
        """Compare the states, and what was trained, with the publications that the records left
        with, and these with the ledger."""
        last = life.published.facts.get("publication")
        numbers = sorted(proof.publications | {proof.row.publication or 0})
        rows = [self.view.publications.get(number) for number in numbers]
        steps = [self.noted.get(number) for number in numbers]
        if proof.row.publication != last or numbers[-1] != last or None in (*rows, *steps):
            yield "is of publications that the ledger does not have"
            return
        found = [step for step in steps if step]
        of_last = found[-1].entry.facts.get("requests")
        if not isinstance(of_last, list) or proof.row.id not in of_last:
            yield "is of a publication that completed other requests"
        if states_of(said, self.view.seal) != (found[0].before, found[-1].after):
            yield "names other states than the ledger"
        entries = [step.entry for step in found]
        yield from against_facts(said, [row.facts for row in rows if row], entries)

    def against_published(
        self, said: Statement, proof: RecordedProof, life: "Life"
    ) -> Iterator[str]:
        """Compare with the state that is published now: what it holds, and who lives in it."""
        after = states_of(said, self.view.seal)[1]
        if self.published is None or after not in self.leading:
            yield "ends in a state from which the ledger does not lead to the published one"
            return
        readmitted = {
            found
            for change in self.trainings
            if change.seq > life.published.seq
            for found in change.hashes("readmitted")
        }
        erased = {target.hash for target in proof.targets} | proof.records
        if (erased - readmitted) & self.published.hashes:
            yield "says that somebody was erased who is in the published state"
        if after == self.view.state:
            alone = proof.publications <= {proof.row.publication}
            yield from against_manifest(said, self.published.manifest, alone=alone)


def in_order(entries: Sequence[LedgerEntry]) -> bool:
    """Whether the ledger has the states of `LIFE` in this order, and PURGED as the last one but
    CERTIFIED."""
    kinds = [entry.kind for entry in entries if entry.kind in State.__members__]
    if kinds[-1:] == [State.CERTIFIED]:
        kinds.pop()
    if not set(LIFE) <= set(kinds) or kinds[0] != State.RECEIVED or kinds[-1] != State.PURGED:
        return False
    last = [len(kinds) - kinds[::-1].index(state) for state in LIFE]
    return last == sorted(last)


@dataclass(frozen=True)
class Life:
    """The entries of one request, whose states are in order. keyed: the first keyed entry of a
    ledger that an earlier release began."""

    entries: Sequence[LedgerEntry]
    keyed: LedgerEntry | None

    def last(self, state: State) -> LedgerEntry:
        """The last entry of a state."""
        return [entry for entry in self.entries if entry.kind == state][-1]

    @property
    def received(self) -> LedgerEntry:
        """The entry of the submission, and not that of a retry."""
        return next(entry for entry in self.entries if entry.kind == State.RECEIVED)

    @property
    def published(self) -> LedgerEntry:
        """The entry of PUBLISHED."""
        return self.last(State.PUBLISHED)

    @property
    def purged(self) -> LedgerEntry:
        """The entry of PURGED."""
        return self.last(State.PURGED)

    @cached_property
    def adopted(self) -> dict[str, object]:
        """What the first keyed entry holds of a request that was under way then."""
        kept = self.keyed.facts.get("requests") if self.keyed else None
        found = kept.get(self.purged.request or "") if isinstance(kept, dict) else None
        return found if isinstance(found, dict) else {}

    def bound(self, entry: LedgerEntry, fact: str) -> object:
        """A fact of an entry; of an entry without a key, that of the first keyed one."""
        return self.adopted.get(fact) if entry.plain else entry.facts.get(fact)

    def differences(self, proof: RecordedProof) -> Iterator[str]:
        """Compare the rows of the request with the entries."""
        row = proof.row
        if hashlib.sha256(proof.statement).hexdigest() != self.bound(self.purged, "statement"):
            yield "is not the one that was frozen"
        planned = self.last(State.PLANNED)
        if digest_of_hashes(proof.records) != self.bound(planned, "erased"):
            yield "is of a request that was planned with other records"
        received, extended = self.received.facts, self._extension()
        terms = received.get("received", row.received_at), received.get("due"), extended
        if terms != (row.received_at, row.due_at, row.extended_at):
            yield "is of a request with another deadline in the database than in the ledger"
        moments = (State.PLANNED, row.planned_at), (State.TRAINING, row.training_at)
        for state, at in (*moments, (State.PUBLISHED, row.published_at)):
            if at is not None and not self._happened(state, at):
                yield f"is of a request that was {state} at another time by the ledger"

    def _extension(self) -> object:
        """The later deadline, None where there is none."""
        found = [entry.facts.get("due") for entry in self.entries if entry.kind == "EXTENDED"]
        return found[-1] if found else None

    def _happened(self, state: State, at: str) -> bool:
        """Whether the ledger has the request come to a state at this moment."""
        return any(
            entry.kind == state and abs(from_text(entry.at) - from_text(at)) < SAME_MOMENT
            for entry in self.entries
        )


def against_rows(said: Statement, proof: RecordedProof) -> Iterator[str]:
    """Compare a statement with the rows of its request."""
    row, terms, times = proof.row, said.request, said.times
    if (terms.received, terms.due) != (row.received_at, row.due_at) or terms.extended not in (
        None,
        row.extended_at,
    ):
        yield "has other times of receipt or deadline than the request"
    if (times.received, times.planned, times.training, times.published) != (
        *(row.received_at, row.planned_at, row.training_at),
        row.published_at,
    ):
        yield "has other times than the request"
    if TargetRow.said_in(said) != proof.targets or any(
        target.outcome not in ("removed", "already") for target in proof.targets
    ):
        yield "names other records or subjects, or another outcome, than the request"
    if set(said.erased.records) != proof.records:
        yield "has other removed records than the request"
    if said.scan.get("found") != 0 and not said.exceptions:
        yield "has findings that nobody accepted"


def against_facts(
    said: Statement, texts: Sequence[str], entries: Sequence[LedgerEntry]
) -> Iterator[str]:
    """Compare what was trained with the facts of the publications, and these with the ledger."""
    for text, entry in zip(texts, entries, strict=True):
        digest = hashlib.sha256(text.encode()).hexdigest()
        if not entry.plain and entry.facts.get("facts") != digest:
            yield "is of a publication whose facts were changed"
            return
    try:
        facts: list[dict[str, Any]] = [json.loads(text) for text in texts]
        rebuilt = tuple(sorted({key for each in facts for key in each["rebuilt"]}))
        numerics = distinct(tuple(one for each in facts for one in each["numerics"]))
        sums = sum(each["passes"] for each in facts), any(each["reclustered"] for each in facts)
        reused = facts[-1]["reused"], facts[-1]["reused_digest"]
        seen = sum(each["seen"] for each in facts), sum(each["removed"] for each in facts)
    except (ValueError, KeyError, TypeError, RecursionError):
        yield "is of a publication whose facts cannot be read"
        return
    changed = said.constituents
    choice = (said.choice.seen, said.choice.of) if said.choice else seen
    if (changed.rebuilt, changed.reused, changed.reused_digest) != (rebuilt, *reused):
        yield "names other constituents than its publications"
    if (said.passes, said.reclustered) != sums or said.numerics != numerics or choice != seen:
        yield "says that something else was trained than its publications"


def against_manifest(said: Statement, manifest: Manifest, *, alone: bool) -> Iterator[str]:
    """Compare a statement with the manifest of its state after. alone: whether all records left
    with one publication, so that what it did not train was in the state before."""
    if canonical_json(said.configuration) != canonical_json(manifest.identity):
        yield "has another configuration than the published state"
    if said.backbone != manifest.backbone.identity:
        yield "has another backbone than the published state"
    keys = manifest.trained.keys()
    reused = sorted(keys - set(said.constituents.rebuilt))
    digests = said.constituents.reused, said.constituents.reused_digest
    if alone and digests != (len(reused), key_of("reused", "".join(reused).encode())):
        yield "has other constituents than the published state"
