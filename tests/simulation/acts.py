"""What each process of a simulation does: the package's own functions, as a command calls them."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import pyarrow.parquet as pq
from sqlalchemy import insert

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.signer import certify_pending
from lmeraser_ray.erasure.certificate.statement import read_statement, statement_of
from lmeraser_ray.erasure.queue.loop import keep_serving
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import LmeraserError
from lmeraser_ray.operations.requests import cancel, extend, refuse, retry, submit
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import close
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.ledger import Seal, plain_hash
from tests.simulation.disk import ROOT, Inode
from tests.simulation.invariants import Broken, Watch
from tests.simulation.scenario import Act
from tests.simulation.world import World

STAGE: list["Cast"] = []
"""The cast of the simulation that runs, for bugs that are planted."""


class Cast:
    """Who acts in a world. made: the ids of the submissions by their numbers."""

    def __init__(self, world: World, watch: Watch) -> None:
        self.world, self.watch = world, watch
        STAGE[:] = [self]
        self.made: dict[int, str] = {}

    def command(self, act: Act) -> Callable[[], None]:
        """The act as a process."""
        does = getattr(self, act.what)

        def run() -> None:
            try:
                self.world.machine.tell(act.line().partition(": ")[2])
                does(act)
            except LmeraserError as error:
                self.world.machine.tell(f"{type(error).__name__}: {error}")

        return run

    def serve(self) -> None:
        """`lmeraser queue serve`, with the signing key."""
        machine = self.world.machine

        def pause(seconds: float) -> bool:
            if seconds:
                machine.sleep(seconds)
            return False

        def say(event: Event) -> None:
            if event.what in ("error", "lost"):
                machine.tell(f"{event.what}: {event.facts['message']}")

        try:
            keep_serving(self.world.session(), pause, keys=self.world.keys, say=say)
        except LmeraserError as error:
            machine.tell(f"ended: {error}")

    def submit(self, act: Act) -> None:
        targets = ErasureTargets(act.records, act.subjects)
        made = submit(
            self.world.session(),
            targets,
            key=f"key {act.of}",
            quarantine=act.quarantine,
            submitter="a client",
        )
        before = self.made.setdefault(act.of, made.id)
        self.acknowledge(made.id)
        if before != made.id:
            self.watch.object(f"one key stands for two requests, {before} and {made.id}")

    def acknowledge(self, name: str) -> None:
        """From now on the request may not be lost."""
        self.world.machine.tell(f"acknowledged {name}")
        self.watch.acknowledged[name] = frozenset()

    def unlearn(self, act: Act) -> None:
        targets = ErasureTargets(act.records, act.subjects)
        found = close(
            self.world.session(), targets, quarantine=act.quarantine, keys=self.world.keys
        )
        self.acknowledge(found.id)

    def _decide(self, act: Act, call: Callable[[str], object]) -> None:
        name = self.made.get(act.of)
        if name is None:
            return
        row = self.watch.rows[name]
        row.decided.add(act.what)
        call(name)

    def cancel(self, act: Act) -> None:
        self._decide(act, lambda name: cancel(self.world.session(), name, "changed my mind"))

    def refuse(self, act: Act) -> None:
        self._decide(act, lambda name: refuse(self.world.session(), name, "a legal hold"))

    def extend(self, act: Act) -> None:
        self._decide(act, lambda name: extend(self.world.session(), name, 1, "many requests"))

    def retry(self, act: Act) -> None:
        self._decide(act, lambda name: retry(self.world.session(), name))

    def retry_all(self, names: list[str]) -> None:
        """What an operator does who finds failed requests."""
        for name in names:
            try:
                retry(self.world.session(), name)
            except LmeraserError as error:
                self.world.machine.tell(f"{type(error).__name__}: {error}")

    def sign(self, act: Act) -> None:
        """Another process signs what is purged, a few times."""
        with self.world.session().database() as database:
            for _ in range(5):
                certify_pending(self.world.session().folder, database, self.world.keys)
                self.world.machine.sleep(2.0)

    def train(self, act: Act) -> None:
        train(self.world.session(), self.world.population.config)

    def read(self, act: Act) -> None:
        """Answer from the published state, whatever is published meanwhile."""
        gone = frozenset[str]().union(
            *(
                row.records
                for row in self.watch.rows.values()
                if row.state in ("PUBLISHED", "PURGED", "CERTIFIED")
            )
        )
        session = self.world.session()

        def answer(state: object) -> frozenset[str]:
            manifest = state.manifest  # type: ignore[attr-defined]
            for shard in manifest.shards:
                session.folder.store.read(shard.constituent)
            return frozenset(
                name
                for bucket in manifest.buckets
                for name in names_in(session.folder.store.read(bucket.bucket.records))
            )

        me = self.world.machine.current
        if session.consistently(answer) & gone and not (me and me.stale_until):
            self.watch.object("an answer came from records that had left the published state")

    def jump(self, act: Act) -> None:
        self.world.offset += act.seconds

    def trace(self, act: Act) -> None:
        """Somebody types a path with an id of a person into the configuration."""
        file = f"{ROOT}/configuration.json"
        tree = json.loads(self.world.disk.files[file].data)
        tree["data"]["path"] = f"/home/{act.subjects[0]}/records.parquet"
        data = Config.model_validate(tree).model_dump_json(indent=1).encode()
        self.world.disk.files[file] = Inode(data, data)
        self.watch.traced |= self.world.population.records_of(frozenset(), frozenset(act.subjects))

    def lift(self, act: Act) -> None:
        """Somebody who can write to the database removes all tombstones."""
        with self.world.session().database() as database, database.write() as connection:
            connection.execute(tables.tombstones.delete())

    def forge(self, act: Act) -> None:
        """Somebody who can write to the database, and has not the secret, adds a purged request for
        a record that is there, after the model of a certified one; sometimes with entries of the
        ledger."""
        model = self.world.raw.execute(
            "SELECT statement FROM requests WHERE state = 'CERTIFIED'"
        ).fetchone()
        if model is None:
            return
        said, name = read_statement(model[0]), "er-20261130-00000000deadbeef"
        victim = self.world.names().hash("record", act.records[0])
        target = replace(said.erased.targets[0], what="record", hash=victim, outcome="removed")
        terms = replace(said.request, id=name)
        erased = replace(said.erased, targets=(target,), records=(victim,))
        statement = statement_of(replace(said, request=terms, erased=erased))
        self.watch.forged.add(name)
        with self.world.session().database() as database, database.write() as connection:
            known = connection.execute(tables.requests.select().limit(1)).mappings().one()
            row = {**known, "id": name, "idempotency": None, "state": "PURGED"}
            row |= {"statement": statement, "envelope": None, "closed_at": None}
            connection.execute(insert(tables.requests).values(row))
            named = {"request_id": name, "what": "record", "hash": victim, "outcome": "removed"}
            connection.execute(insert(tables.targets).values(named))
            done = {"request_id": name, "hash": victim, "publication": row["publication"]}
            connection.execute(insert(tables.erased).values(done))
            if act.seconds:
                self.watch.ledger_forged = True
                with patch.object(Seal, "entry", lambda self, *words: plain_hash(*words)):
                    for kind in ("RECEIVED", "PLANNED", "TRAINING", "PUBLISHED", "PURGED"):
                        ledger.append(connection, kind, name, {})


def names_in(data: bytes) -> list[str]:
    """The ids of records that a bucket's rows name."""
    return [str(name) for name in pq.read_table(io.BytesIO(data))["record_id"].to_pylist()]


__all__ = ["Broken", "Cast"]
