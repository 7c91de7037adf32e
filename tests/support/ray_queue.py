"""The queue on Ray as tests see it: a workspace whose trainings wait at a gate, and a `serve` in a
thread."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lmeraser_ray.config import Config
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.overview import Overview, overview_of
from lmeraser_ray.erasure.queue.retrains import buckets_without
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.queue import Done, serve
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database import ledger
from tests.support.children import state_of
from tests.support.gated import Gate, Gated
from tests.support.world import World

RANDOM = {"partition": {"kind": "random", "shards": 4}, "aggregation": {"kind": "all"}}
"""Shards that no deletion changes: each record has its lane."""
PATIENCE = 240.0


@dataclass
class Place:
    """A trained workspace, the records of its lanes, and the gate of its trainings."""

    world: World
    session: Session
    gate: Gate

    @property
    def config(self) -> Config:
        return self.session.config()

    def lanes(self) -> list[list[str]]:
        """The live training records of each lane, the largest first."""
        current = self.current()
        found: dict[int, list[str]] = {}
        for name, lane in zip(
            current.index.names("record_id"), current.constituents.tolist(), strict=True
        ):
            if lane >= 0:
                found.setdefault(lane, []).append(name)
        return sorted(found.values(), key=len, reverse=True)

    def current(self) -> PublishedState:
        folder = self.session.folder
        return PublishedState.read(folder.store, self.config, folder.require_published())

    def submit(self, name: str) -> str:
        with self.session.database() as database:
            return RequestRepository(database, self.session.names()).submit([name], []).id

    def requests(self) -> dict[str, ErasureRequest]:
        with self.session.database() as database:
            return {
                request.id: request
                for request in RequestRepository(database, self.session.names()).list()
            }

    def states(self) -> dict[str, State]:
        return {name: request.state for name, request in self.requests().items()}

    def certified(self, *ids: str) -> bool:
        states = self.states()
        return all(states[name] is State.CERTIFIED for name in ids)

    def standing(self) -> Overview:
        return overview_of(self.session)

    def poison(self, gone: Sequence[str]) -> None:
        """Let the retrains fail that these records' going needs by itself."""
        session = Session(self.session.root)
        with session.folder.locked() as workspace:
            self._poison(session, workspace, gone)

    def _poison(self, session: Session, workspace: LockedWorkspace, gone: Sequence[str]) -> None:
        manifest = workspace.require_published()
        current = PublishedState.read(workspace.store, self.config, manifest)
        with session.flow(current.store, self.config, manifest.backbone) as flow:
            plan = flow.plan(buckets_without(current, set(gone)), manifest).plan
        for build in plan.build:
            self.gate.poison(build.spec.key)

    def entries(self, kind: str) -> list[str | None]:
        """The requests that the ledger has entries of this kind for."""
        with self.session.database() as database, database.read() as connection:
            return [entry.request for entry in ledger.entries(connection) if entry.kind == kind]

    def expect(self, gone: Sequence[str]) -> None:
        """The law: the state is that of a workspace that never saw these records; nothing is stray;
        one certificate each."""
        never = Session(self.world.space())
        train(never, self.world.without(gone, **RANDOM))
        assert fingerprint(self.session) == fingerprint(never)
        assert verify(self.session).differences == ()
        certificates = self.entries("CERTIFIED")
        assert sorted(certificates) == sorted(
            name for name, state in self.states().items() if state is State.CERTIFIED
        )


@dataclass
class Service:
    """A `serve` in a thread of this process, and what it told."""

    stop: Stop
    events: list[Event] = field(default_factory=list)
    ended: list[Done | BaseException] = field(default_factory=list)

    def told(self, what: str) -> list[Event]:
        return [event for event in self.events if event.what == what]

    def actor(self) -> int:
        """The actor's process, once it is known."""
        until(lambda: self.told("attending") or self.ended, "the actor")
        return int(str(self.told("attending")[-1].facts["process"]))


SERVICES: list["Service"] = []
"""Those of the test that runs."""


def until(true: Callable[[], object], what: str) -> None:
    """Wait for something that others do; not for one that has failed."""
    end = time.monotonic() + PATIENCE
    while not true():
        for service in SERVICES:
            assert not any(isinstance(ended, BaseException) for ended in service.ended), (
                service.ended
            )
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return state_of(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or read
        return False


@contextmanager
def serving(place: Place, *, gated: bool = True, **overrides: object) -> Iterator[Service]:
    """Serve a place until the end of the context; what is held back then goes on and is
    finished."""
    fields = {
        "execution.engine": "ray",
        "queue.poll": "0.05",
        **{name.replace("__", "."): str(value) for name, value in overrides.items()},
    }
    session = Session(place.session.root, overrides=tuple(fields.items()))
    service = Service(Stop())
    SERVICES[:] = [service]

    def work() -> None:
        learner = Gated(place.config, place.gate.folder) if gated else None
        try:
            service.ended.append(
                serve(
                    session,
                    keys=key_folder(None),
                    say=service.events.append,
                    stop=service.stop,
                    learner=learner,
                )
            )
        except BaseException as error:
            service.ended.append(error)
            raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield service
    finally:
        place.gate.open()
        if not service.stop.asked:
            service.stop.ask()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert isinstance(service.ended[0], Done), service.ended
