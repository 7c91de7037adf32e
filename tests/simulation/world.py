"""The world of one simulation: a machine, a disk, a database, and the package in between.

Everything that the package would ask of the operating system is replaced in one place, `installed`:
the clock, random names, the disk's calls, SQLite's file, the lock of the workspace, threads.
"""

import json
import random
import sqlite3
import sys
import time as real_time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import StaticPool

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.dsse import SigningKey
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.pipeline.flow import Inputs, Prototypes
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.ledger import Seal
from lmeraser_ray.storage.store import Store
from tests.simulation.disk import ROOT, Disk, DiskCalls, SimulatedPath
from tests.simulation.engine import Chance, SimulatedEngine
from tests.simulation.machine import Fault, Machine, Threads
from tests.simulation.population import CARD, Population

BEGIN = datetime(2026, 11, 30, 7, 0, tzinfo=UTC)
Image = tuple[tuple[dict[str, bytes], frozenset[str]], bytes]


class Keys(KeyFolder):
    """A folder of keys on the simulated disk, with one key that never changes."""

    def __init__(self, world: "World") -> None:
        super().__init__(SimulatedPath("/simulated/keys"))
        key = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
        object.__setattr__(self, "_key", key)
        object.__setattr__(self, "_world", world)
        world.disk.folders.add(str(self.path))

    @contextmanager
    def locked(self, *, create: bool) -> Iterator[None]:
        with self._world.machine.atomic():
            yield

    def current(self) -> SigningKey:
        return self._key

    def public_keys(self) -> dict[str, Any]:
        return {self._key.keyid: self._key.public}


@cache
def engine_of_process() -> tuple[Engine, sqlite3.Connection]:
    """One SQLite database in memory for all simulations of this process: SQLAlchemy keeps compiled
    statements with it."""
    raw = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    engine = create_engine(
        "sqlite+pysqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None
    )

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        raw.execute("BEGIN IMMEDIATE" if write else "BEGIN").close()

    return engine, raw


class SimulatedDatabase(Database):
    """The request database in memory. Processes are switched before and after a transaction, and
    die before and after a COMMIT too."""

    def __init__(self, world: "World") -> None:
        seal = Seal(world.names())
        super().__init__(world.engine, "the simulated database", Path("requests.db"), "", seal)
        self._world = world

    def close(self) -> None:
        """Others go on with it."""

    @contextmanager
    def _lock(self, *, write: bool) -> Iterator[None]:
        yield

    @contextmanager
    def write(self) -> Iterator[Connection]:
        machine = self._world.machine
        machine.point("write the database")
        try:
            with machine.atomic(), super().write() as connection:
                yield connection
        finally:
            self._world.changed("COMMIT")
        machine.point("after COMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        machine = self._world.machine
        machine.point("read the database")
        with machine.atomic(), super().read() as connection:
            yield connection


class SimulatedSession(Session):
    """A session that reads the configuration again only where it has changed."""

    def config(self) -> Config:
        found = SimulatedPath.disk.files.get(f"{ROOT}/configuration.json")
        data = found.data if found else b""
        if data not in _configurations:
            _configurations[data] = super().config()
        return _configurations[data]


_configurations: dict[bytes, Config] = {}


def fill(database: sqlite3.Connection, image: bytes) -> None:
    """Make a database in memory hold what an image holds. `deserialize` would do, but what it makes
    is a file in memory, of which `serialize` shows no transaction that is under way."""
    with closing(sqlite3.connect(":memory:")) as copy:
        copy.deserialize(image)
        copy.backup(database)


@cache
def empty() -> bytes:
    """A database without tables."""
    made = sqlite3.connect(":memory:")
    made.execute("PRAGMA user_version = 1")
    return made.serialize()


class Fingers(Inputs):
    """The inputs of a training, without a backbone."""

    config = backbone = None  # type: ignore[assignment]

    def __init__(self, **_: object) -> None:
        """Nothing is loaded."""

    @property
    def card(self) -> BackboneCard:  # type: ignore[override]
        return CARD

    def check_labels(self, index: object) -> None:
        """Every label will do."""

    def prototypes(self, store: Store, *, expected: object = ()) -> Prototypes:  # type: ignore[override]
        """There are none."""
        return ()


class World:
    """One simulation. hosts: how far the clock of each host is from the true time."""

    def __init__(
        self,
        population: Population,
        image: Image | None,
        seed: int,
        faults: list[Fault],
        *,
        failing: float = 0.0,
    ) -> None:
        self.population, self.seed = population, seed
        self.machine = Machine(faults)
        self.disk = Disk(self.machine.point)
        self.chance = Chance(seed, failing)
        self.engine, self.raw = engine_of_process()
        self.offset, self.may_fail = 0.0, False
        self.rng = random.Random(f"world {seed}")
        self.holder: object = None
        self.watch: Callable[[str], None] = lambda _: None
        self.object: Callable[[str], None] = lambda _: None
        """Called with what is broken, by whoever sees it."""
        self.machine.lose_power = lambda: self.disk.lose_power(self.rng)
        self.disk.stale = self._stale
        if image is not None:
            self.disk.restore(image[0])
        fill(self.raw, image[1] if image else empty())
        for setting in ("secure_delete=ON", "foreign_keys=ON", "temp_store=MEMORY"):
            self.raw.execute(f"PRAGMA {setting}").close()
        self.root, self.keys = SimulatedPath(ROOT), Keys(self)

    def image(self) -> Image:
        """All that is durable, for another world to begin with."""
        return self.disk.image(), self.raw.serialize()

    def session(self) -> Session:
        """The workspace as a command opens it."""
        return SimulatedSession(self.root, make_engine=self._engine)

    def _engine(self, store: Store, config: Config, card: BackboneCard) -> SimulatedEngine:
        return SimulatedEngine(self.machine, self.chance, store, config, card)

    def open(self, root: object = None, url: str | None = None, *, create: bool = True) -> Database:
        """The database."""
        database = SimulatedDatabase(self)
        if not self.raw.execute("SELECT 1 FROM sqlite_master WHERE name = 'lease'").fetchone():
            database._prepare(self.names(), known=False, pinned=tables.FORMAT)
        return database

    def names(self) -> Any:
        """The keyed hashes of ids."""
        return self.session().names()

    def now(self) -> datetime:
        """What a clock shows."""
        return BEGIN + timedelta(seconds=self.machine.now + self.offset)

    def _stale(self) -> bool:
        me = self.machine.current
        return me is not None and me.whole.stale_until > self.machine.now

    def changed(self, what: str) -> None:
        """Something that others see has changed: look whether all is well."""
        with self.machine.observing():
            self.watch(what)

    @contextmanager
    def lock(self, path: object) -> Iterator[Callable[[], None]]:
        """The lock of the workspace. It goes with its process; a cut connection loses it
        unnoticed."""
        self.machine.point("lock the workspace")
        if self.holder is not None:
            raise ExecutionError("Another command is writing: wait for it and try again.")
        mine = self.holder = object()

        def lose() -> None:
            if self.holder is mine:
                self.holder = None

        def guard() -> None:
            self.machine.point("guard")
            if self.holder is not mine:
                raise ExecutionError("The lock went with its connection.")

        me = self.machine.current
        if me:
            me.whole.on_death.append(lose)
            me.whole.on_cut.append(lose)
        try:
            yield guard
        finally:
            if me is None or me.alive:
                lose()
            if me and lose in me.whole.on_death:
                me.whole.on_death.remove(lose)
                me.whole.on_cut.remove(lose)


class Clock(datetime):
    """`datetime` with the world's clock."""

    world: "World"

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return cls.world.now()


@dataclass(frozen=True)
class Ticks:
    """What callers take from `time`."""

    machine: Machine
    perf_counter = staticmethod(real_time.perf_counter)

    def monotonic(self) -> float:
        return self.machine.now

    def sleep(self, seconds: float) -> None:
        self.machine.sleep(seconds)


def forbid_torn(world: "World") -> Callable[[], None]:
    """What runs right before a COMMIT."""

    def committing() -> None:
        world.machine.point("COMMIT")

    return committing


def canonical(value: object) -> bytes:
    """RFC 8785 for what a workspace writes (keys in ASCII, no exotic numbers), ten times faster."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def watched(world: "World") -> Callable[[Lease], Any]:
    """`Lease.write`, which notes a write of a queue that another one has replaced."""
    right = Lease.write

    @contextmanager
    def write(lease: Lease) -> Iterator[Connection]:
        with right(lease) as connection:
            yield connection
            [epoch] = world.raw.execute("SELECT epoch FROM lease").fetchone()
            if epoch != lease.epoch:
                world.object(f"a queue of epoch {lease.epoch} has written in epoch {epoch}")

    return write


@contextmanager
def installed(world: World) -> Iterator[World]:
    """Put the world in the place of the operating system."""
    base = "lmeraser_ray"
    machine, rng = world.machine, random.Random(f"names {world.seed}")
    calls, ticks = DiskCalls(), Ticks(machine)
    SimulatedPath.disk, Clock.world = world.disk, world
    with ExitStack() as stack:

        def put(name: str, value: object, **options: bool) -> None:
            stack.enter_context(patch(f"{base}.{name}", value, **options))  # type: ignore[call-overload]

        for name in ("os", "shutil"):
            put(f"storage.local_disk.{name}", calls)
        put("storage.local_disk.Path", SimulatedPath)
        put("storage.regular_file.os", calls)
        put("storage.times.datetime", Clock)
        for name, module in list(sys.modules.items()):
            if name.startswith(base) and getattr(module, "time", None) is real_time:
                stack.enter_context(patch.object(module, "time", ticks))
        put("erasure.queue.lease.threading", Threads(machine))
        put("erasure.queue.lease.process_mark", lambda: None)
        put("erasure.queue.lease.Lease.write", watched(world))
        put("erasure.queue.lease.SHOWN", 6.0)
        put("storage.database.database.Database.open", world.open)
        put("storage.database.database.committing", forbid_torn(world))
        put("pipeline.workspace_folder.lock_of_file", world.lock)
        put("operations.train.load_inputs", lambda config: Fingers())
        put("models.numerics.describe", lambda device: {"device": "simulated"})
        put("data.ingest.local_folder", lambda path: None)
        stack.enter_context(patch("rfc8785.dumps", canonical))
        stack.enter_context(patch("secrets.token_hex", lambda n: rng.randbytes(n).hex()))
        stack.enter_context(patch("secrets.token_bytes", rng.randbytes))
        yield world
