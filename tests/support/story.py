"""One case of the fault matrix: a workspace, the processes that work on it, and what must hold
after every row of the matrix.

What must hold (`Case.expect_whole`): no acknowledged request is lost; nothing is CERTIFIED whose
record is anywhere still; one certificate and one CERTIFIED entry of the ledger each; the ledger,
the workspace and the audit are clean; and the law: the workspace is, byte for byte, what training
without the union of all that was erased gives.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sqlalchemy import select

from lmeraser_ray.config import Config
from lmeraser_ray.data.feature_file import read_features
from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.dsse import sha256_of
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.verifier import check_certificate
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.database import VARIABLE, Database
from tests.support import acts
from tests.support.children import Child, Ended, Nursery, Point, stop_between_transactions
from tests.support.failpoints import TRAINED
from tests.support.law import held
from tests.support.world import World

SMALL: dict[str, dict[str, object]] = {
    "data": {"buckets": 2},
    "partition": {"sample_size": 6, "shards": 4},
    "learner": {"epochs": 1},
    "queue": {"lease": 0.2, "poll": 0.01},
}
"""A configuration in which a retrain takes hundredths of a second, and a dead queue is replaced
soon. No id is a part of another one's."""
RECORDS = 20
SAMPLED, TESTED, ALONE, LANES = 0, 4, 3, (1, 3, 14)
"""Records: one that was sampled, so that all four constituents are trained anew; one that trains
nothing; one of one shard; of three."""


class Truth:
    """A world, and what training on all but some of its records gives: the other side of the
    law."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, n=RECORDS)
        self._known: dict[frozenset[str], Path] = {}
        self._fingerprints: dict[frozenset[str], str] = {}

    def config(self, **sections: dict[str, object]) -> Config:
        return self.world.config(**{**SMALL, **sections})

    def without(self, erased: frozenset[str]) -> Path:
        """A workspace that never saw these records."""
        if erased not in self._known:
            root = self.world.space()
            train(Session(root), self.world.without(sorted(erased), **SMALL))
            self._known[erased] = root
        return self._known[erased]

    def published_without(self, erased: frozenset[str]) -> str:
        """The fingerprint of that."""
        if erased not in self._fingerprints:
            self._fingerprints[erased] = fingerprint(Session(self.without(erased)))
        return self._fingerprints[erased]

    def traces(self) -> dict[str, dict[str, bytes]]:
        """What each record leaves in a workspace: id → what it is → the bytes to look for."""
        folder = WorkspaceFolder(self.without(frozenset()))
        states = folder.require_published().buckets
        index = RecordIndex.read(folder.store, [state.bucket for state in states])
        features = np.concatenate([read_features(folder.store, state.features) for state in states])
        found = {}
        for at, name in enumerate(index.names("record_id")):
            digest = index.digests[at].tobytes()
            image = self.world.images[self.world.ids.index(name)]
            found[name] = {
                "id": name.encode(),
                "picture": image,
                "digest": digest,
                "hexadecimal": digest.hex().encode(),
                "feature": features[at].tobytes(),
            }
        return found


@dataclass
class Case:
    """A trained workspace with its processes. acknowledged: what each acknowledged request
    names."""

    truth: Truth
    root: Path
    keys: Path
    nursery: Nursery
    traces: dict[str, dict[str, bytes]] = field(repr=False)
    acknowledged: dict[str, tuple[frozenset[str], frozenset[str]]] = field(default_factory=dict)

    @property
    def ids(self) -> list[str]:
        return self.truth.world.ids

    @property
    def session(self) -> Session:
        return Session(self.root)

    @property
    def log(self) -> Path:
        """Which constituents all processes of this case began and finished."""
        return self.keys.with_name("trained.log")

    def environment(self) -> dict[str, str]:
        return {
            TRAINED: str(self.log),
            "LMERASER_KEYS": str(self.keys),
            VARIABLE: os.environ.get(VARIABLE, ""),
        }

    def start(
        self, act: object, *args: object, die: Point | None = None, pause: Point | None = None
    ) -> Child:
        """Start a process that does one of the acts."""
        return self.nursery.start(act, *args, die=die, pause=pause, environment=self.environment())  # type: ignore[arg-type]

    def submit(self, *records: str, subjects: Sequence[str] = (), key: str | None = None) -> str:
        """`lmeraser submit` in a process of its own. The id that it prints is acknowledged."""
        ended = self.submission(*records, subjects=subjects, key=key).end()
        assert ended.code == 0, ended.err
        return self.note(ended.out.strip(), records, subjects)

    def submission(
        self,
        *records: str,
        subjects: Sequence[str] = (),
        key: str | None = None,
        die: Point | None = None,
    ) -> Child:
        """Start `lmeraser submit`."""
        named = [
            word
            for option, names in (("--records", records), ("--subjects", subjects))
            for name in names
            for word in (option, name)
        ]
        return self.command("submit", *named, *(("--key", key) if key else ()), die=die)

    def ask(self, *records: str, subjects: Sequence[str] = ()) -> str:
        """Submit in this process, where who submits is of no interest."""
        with closing(self.database()) as database:
            made = RequestRepository(database, self.session.names()).submit(records, subjects)
        return self.note(made.id, records, subjects)

    def retry(self, request: str) -> None:
        """FAILED → RECEIVED."""
        with closing(self.database()) as database:
            RequestRepository(database, self.session.names()).retry(request)

    def note(self, request: str, records: Sequence[str], subjects: Sequence[str] = ()) -> str:
        """Remember an acknowledgement."""
        self.acknowledged[request] = frozenset(records), frozenset(subjects)
        return request

    def work(self, *, die: Point | None = None, pause: Point | None = None) -> Child:
        """Start `lmeraser queue run`: it works until nothing is left, and signs."""
        return self.command("queue", "run", "--keys", str(self.keys), die=die, pause=pause)

    def command(
        self, verb: str, *words: str, die: Point | None = None, pause: Point | None = None
    ) -> Child:
        """Start a command on the workspace."""
        return self.start(
            acts.command,
            verb,
            *words,
            "--workspace",
            str(self.root),
            "--quiet",
            die=die,
            pause=pause,
        )

    def settle(self) -> Ended:
        """Work, in a new process, until nothing is left. It must end well."""
        ended = self.work().end()
        assert ended.code == 0, ended
        return ended

    def epoch(self) -> int:
        with closing(self.database()) as database:
            return Lease.look(database).epoch

    def trained(self) -> Counter[str]:
        """How often each constituent was trained to its end, by all processes."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return Counter(line.removeprefix("done ") for line in lines if line.startswith("done "))

    def request(self, name: str) -> ErasureRequest:
        with closing(self.database()) as database:
            return RequestRepository(database, self.session.names()).get(name)

    def states(self) -> dict[str, State]:
        with closing(self.database()) as database:
            return {
                request.id: request.state
                for request in RequestRepository(database, self.session.names()).list()
            }

    def database(self) -> Database:
        return Database.open(self.root, None)

    def erased(self, names: Sequence[str]) -> frozenset[str]:
        """The records that these requests name, subjects resolved."""
        world, named = self.truth.world, [self.acknowledged[name] for name in names]
        records = frozenset[str]().union(*(records for records, _ in named))
        people = frozenset[str]().union(*(subjects for _, subjects in named))
        return records | {
            name
            for name, subject in zip(world.ids, world.subjects, strict=True)
            if subject in people
        }

    def stop(self, child: Child) -> None:
        """SIGSTOP, but not within a transaction of the request database."""
        stop_between_transactions(child.pid, self.root)

    def published(self) -> str:
        """The fingerprint of what is published, every object that it reaches being there and
        sound."""
        folder = self.session.folder
        for item in folder.require_published().objects():
            assert folder.store.sound(item), item.name
        return fingerprint(self.session)

    def expect_whole(
        self, others: Mapping[str, State] | None = None, *, sound: bool = True
    ) -> None:
        """What must hold after every fault. others: requests that are not CERTIFIED, and what they
        are; sound: `verify` is content."""
        others = others or {}
        certified = [name for name in self.acknowledged if name not in others]
        self._expect_requests(certified, others)
        erased = self.erased(certified)
        kept = frozenset[str]().union(
            *(self.acknowledged[name][0] for name in others if others[name] is State.FAILED)
        )
        assert self.found(erased - kept) == {}, "something that is certified to be gone is there"
        assert self.published() == self.truth.published_without(erased), (
            "not the state that never saw them"
        )
        if sound:
            assert held(self.root) == held(self.truth.without(erased))
            assert verify(self.session).differences == ()
        assert audit(self.session, KeyFolder(self.keys).public_keys()).differences == ()

    def _expect_requests(self, certified: Sequence[str], others: Mapping[str, State]) -> None:
        """Nobody is lost, everybody is where they should be, with one certificate and one entry
        each."""
        keys = KeyFolder(self.keys).public_keys()
        with closing(self.database()) as database:
            rows = {
                request.id: request
                for request in RequestRepository(database, self.session.names()).list()
            }
            with database.read() as conn:
                assert ledger.check(conn) == []
                told = [entry for entry in ledger.entries(conn) if entry.kind == State.CERTIFIED]
                gone = conn.execute(select(tables.erased.c.request_id, tables.erased.c.hash)).all()
        assert {name: rows[name].state for name in rows} == {
            **dict.fromkeys(certified, State.CERTIFIED),
            **others,
        }
        assert sorted(entry.request or "" for entry in told) == sorted(certified)
        names = self.session.names()
        for name in certified:
            records, subjects = self.acknowledged[name]
            wanted = {names.hash("record", each) for each in records} | {
                names.hash("subject", each) for each in subjects
            }
            assert {target.hash for target in rows[name].targets} == wanted
            certificate = check_certificate(bytes(rows[name].envelope or b""), keys)
            assert certificate.statement.request.id == name
            assert [entry.facts["certificate"] for entry in told if entry.request == name] == [
                sha256_of(certificate.envelope)
            ]
            assert set(certificate.statement.erased.records) == {
                row.hash for row in gone if row.request_id == name
            }
        removed = {row.hash for row in gone if row.request_id in certified}
        assert removed == {names.hash("record", each) for each in self.erased(certified)}

    def found(self, erased: frozenset[str]) -> dict[str, set[str]]:
        """What of these records is in any file of the workspace, or in a file's name: path →
        what."""
        return search(
            [self.root],
            {what: text for name in erased for what, text in labelled(name, self.traces[name])},
        )


def labelled(name: str, traces: Mapping[str, bytes]) -> list[tuple[str, bytes]]:
    return [(f"{what} of {name}", text) for what, text in traces.items()]


def search(roots: Sequence[Path], wanted: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Which of the wanted bytes are in any file below these folders, or in its name. Plainly: no
    index, no rule, no exception."""
    hits: dict[str, set[str]] = {}
    for path in (path for root in roots for path in sorted(root.rglob("*"))):
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found = {what for what, text in wanted.items() if text in data or text in os.fsencode(path)}
        if found:
            hits[str(path)] = found
    return hits
