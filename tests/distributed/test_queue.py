"""The queue on Ray: a real actor, real tasks, real kill -9. What is published in the end is always
the law's state."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.actor_handle import ActorHandle
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.overview import Overview, overview_of
from lmeraser_ray.erasure.queue.retrains import buckets_without
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import ErasureRequest, State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.serve import Done, serve
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database import ledger
from lmeraser_ray.storage.store import Store
from tests.support.children import stop_between_transactions
from tests.support.gated import Gate, Gated
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("cluster")

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
        current, session = self.current(), Session(self.session.root)
        with session.flow(current.store, self.config, current.manifest.backbone) as flow:
            plan = flow.plan(buckets_without(current, set(gone)), current.manifest).plan
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
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world and a workspace that each test copies."""
    world = World(tmp_path_factory.mktemp("queue") / "world")
    root = world.space()
    train(Session(root), world.config(**RANDOM))
    return world, root


@pytest.fixture
def place(trained: tuple[World, Path], tmp_path: Path) -> Place:
    world, root = trained
    shutil.copytree(root, tmp_path / "workspace")
    (tmp_path / "gate").mkdir()
    return Place(world, Session(tmp_path / "workspace"), Gate(tmp_path / "gate"))


def test_shards_are_retrained_at_once_and_requests_share_them(place: Place) -> None:
    """Two shards in training at the same time, while status answers; three requests cost two
    retrains."""
    one, two, *_ = place.lanes()
    gone = [one[0], one[1], two[0]]
    ids = [place.submit(name) for name in gone]
    with serving(place) as service:
        until(lambda: len(place.gate.begun()) == 2, "two trainings")
        until(
            lambda: (
                [0 < (lane["share"] or 0) < 1 for lane in place.standing().training] == [True, True]
            ),
            "their progress in the status",
        )
        seen = place.standing()
        assert seen.live and seen.snapshot["slots"] == 2 and seen.in_use == 2
        assert all(lane["remaining"] > 0 for lane in seen.training)
        assert sorted(lane["requests"] for lane in seen.training) == [1, 2]
        assert set(place.states().values()) == {State.TRAINING}
        assert len({begun.pid for begun in place.gate.begun()}) == 2
        place.gate.open()
        until(lambda: place.certified(*ids), "certificates")
    assert len({begun.key for begun in place.gate.begun()}) == 2
    assert {event.request for event in service.told("certified")} == set(ids)
    assert service.ended == [Done({State.CERTIFIED: 3}, 0)]
    place.expect(gone)


@pytest.mark.long
def test_a_request_in_the_middle_of_a_retrain_supersedes_it(place: Place) -> None:
    """The first training is cancelled, its worker with it; one training serves both."""
    [first, second, *_], *_ = place.lanes()
    ids = [place.submit(first)]
    with serving(place):
        until(lambda: len(place.gate.begun()) == 1, "the first training")
        [old] = place.gate.begun()
        ids.append(place.submit(second))
        until(lambda: len(place.gate.begun()) == 2, "the second training")
        [new] = place.gate.begun() - {old}
        assert new.key != old.key
        until(lambda: not alive(old.pid), "the end of the first worker")
        until(lambda: place.standing().snapshot.get("superseded") == 1, "the status")
        place.gate.open()
        until(lambda: place.certified(*ids), "certificates")
    assert place.gate.begun() == {old, new}
    constituents = {path.name for path in place.session.folder.store.files()}
    assert not any(old.key in name for name in constituents) and any(
        new.key in name for name in constituents
    )
    place.expect([first, second])


@pytest.mark.long
def test_requests_on_a_shard_in_training_share_the_next_retrain(place: Place) -> None:
    """Where nothing is superseded: one retrain that was under way, and one more for all who came
    meanwhile."""
    names = place.lanes()[0][:6]
    ids = [place.submit(names[0])]
    with serving(place, queue__supersedes=0) as service:
        until(lambda: len(place.gate.begun()) == 1, "the first training")
        ids += [place.submit(name) for name in names[1:]]
        until(lambda: list(place.states().values()).count(State.PLANNED) == 5, "plans")
        place.gate.open()
        until(lambda: place.certified(*ids), "certificates")
    assert len(place.gate.begun()) == 2
    assert [event.facts["requests"] for event in service.told("shard-started")] == [1, 5]
    place.expect(names)


@pytest.mark.long
def test_an_actor_that_is_killed_goes_on_in_the_next_epoch(place: Place) -> None:
    """kill -9 while two shards are in training: epoch + 1, all certified, one certificate each, and
    no orphan of the old epoch."""
    one, two, *_ = place.lanes()
    gone = [one[0], two[0]]
    ids = [place.submit(name) for name in gone]
    with serving(place) as service:
        pid = service.actor()
        until(lambda: len(place.gate.begun()) == 2, "two trainings")
        orphans, epoch = place.gate.begun(), place.standing().seen.epoch
        os.kill(pid, signal.SIGKILL)
        until(lambda: len(place.gate.begun()) == 4, "two trainings of the next actor")
        assert place.standing().seen.epoch == epoch + 1
        until(lambda: not any(alive(begun.pid) for begun in orphans), "the end of the orphans")
        place.gate.open()
        until(lambda: place.certified(*ids), "certificates")
        assert [request.attempts for request in place.requests().values()] == [0, 0]
    assert [event.facts["epoch"] for event in service.told("lease")][-1] == epoch + 1
    place.expect(gone)


@pytest.mark.long
def test_a_worker_that_is_killed_is_tried_again(place: Place) -> None:
    """kill -9 in the middle of an epoch: Ray tries again, the request counts no attempt."""
    name = place.lanes()[0][0]
    made = place.submit(name)
    with serving(place):
        until(lambda: len(place.gate.begun()) == 1, "the training")
        [old] = place.gate.begun()
        os.kill(old.pid, signal.SIGKILL)
        until(lambda: len(place.gate.begun()) == 2, "the second try")
        assert {begun.key for begun in place.gate.begun()} == {old.key}
        place.gate.open()
        until(lambda: place.certified(made), "the certificate")
    assert place.requests()[made].attempts == 0
    place.expect([name])


@pytest.mark.long
def test_a_poisoned_request_fails_and_blocks_nobody(place: Place) -> None:
    """Its own retrain fails each time; FAILED after so many attempts, without a word of what the
    error named. The others are certified."""
    one, two, *_ = place.lanes()
    poison, fellow, other = one[0], one[1], two[0]
    place.poison([poison])
    place.poison([poison, fellow])
    place.gate.open()
    bad, good, far = (place.submit(name) for name in (poison, fellow, other))
    with serving(place, queue__attempts=2) as service:
        until(
            lambda: place.states()[bad] is State.FAILED and place.certified(good, far), "the ends"
        )
        assert place.standing().counts[State.FAILED] == 1
        [failed] = service.told("failed")
    request = place.requests()[bad]
    assert (failed.request, failed.facts["attempts"], request.attempts) == (bad, 2, 2)
    assert "failed 2 times" in (request.reason or "")
    lines = [event.line() for event in service.events]
    assert not any("person-" in text for text in [*lines, request.reason or ""]), (
        "no id of a record"
    )
    assert len(service.told("retrain-failed")) >= 2
    place.expect([fellow, other])


@pytest.mark.long
def test_draining_finishes_what_runs_and_keeps_the_rest(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three shards have a slot: these are finished, published and signed; the third waits in
    the database for the next serve."""
    first, second, third, *_ = (lane[0] for lane in place.lanes())
    ids = [place.submit(name) for name in (first, second, third)]
    heard, look = threading.Event(), ActorHandle.look

    def telling(self: ActorHandle, *, drain: bool, **more: Any) -> Any:
        standing = look(self, drain=drain, **more)
        if drain:
            heard.set()
        return standing

    monkeypatch.setattr(ActorHandle, "look", telling)
    with serving(place) as service:
        until(lambda: len(place.gate.begun()) == 2, "two trainings")
        service.stop.ask()
        until(heard.is_set, "the actor to hear of it")  # else the third may begin before
        place.gate.open()
        until(lambda: service.ended, "the end")
    assert service.ended == [Done({State.CERTIFIED: 2}, 1)]
    assert [place.states()[name] for name in ids] == [
        State.CERTIFIED,
        State.CERTIFIED,
        State.PLANNED,
    ]
    assert len(place.gate.begun()) == 2
    assert not place.standing().live
    with serving(place):
        until(lambda: place.certified(*ids), "the last certificate")
    place.expect([first, second, third])


SUBMIT = """
import sys
from pathlib import Path
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.pipeline.session import Session
session = Session(Path(sys.argv[1]))
with session.database() as database:
    print(RequestRepository(database, session.names()).submit([sys.argv[2]], []).id)
"""


def forbidden(store: Store, config: Config, card: BackboneCard) -> Engine:
    raise AssertionError("there is a second way")


def exported(port: int, address: str) -> dict[str, float]:
    """The values on a node's metrics port, by name and labels."""
    with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("ray_lmeraser_")
    }


def test_everyone_erases_through_the_server_and_it_is_measured(place: Place) -> None:
    """Another process submits, `unlearn` waits for the same actor; what both cost is on Ray's
    metrics port."""
    import ray

    one, two, *_ = place.lanes()
    with serving(place, gated=False) as service:
        service.actor()
        done = subprocess.run(
            [sys.executable, "-c", SUBMIT, str(place.session.root), one[0]],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        made = done.stdout.strip()
        until(lambda: place.standing().live, "the queue")
        epoch = place.standing().seen.epoch
        erased = unlearn(
            Session(place.session.root, make_engine=forbidden), ErasureTargets((two[0],))
        )
        until(lambda: place.certified(made), "the certificate")
        assert place.certified(erased.request.id)
        assert (place.standing().seen.epoch, epoch) == (epoch, 1)
        [node] = ray.nodes()
        found: dict[str, float] = {}

        def measured() -> bool:
            found.update(exported(node["MetricsExportPort"], node["NodeManagerAddress"]))
            return (
                value(found, "certification_seconds_count") == 2
                and value(found, "requests", 'state="CERTIFIED"') == 2
            )

        until(measured, "the metrics")
    assert value(found, "publication_seconds_count") == 2
    assert (
        0
        < value(found, "publication_seconds_sum")
        <= value(found, "certification_seconds_sum")
        < 2 * PATIENCE
    )
    assert value(found, "oldest_open_seconds") == 0
    assert value(found, "deadline_alerts", 'percent="95"') == 0
    assert value(found, "retrain_seconds_total") > 0
    assert value(found, "gpu_seconds_total") == pytest.approx(
        0.25 * value(found, "retrain_seconds_total")
    )
    assert value(found, "retrains_saved") == 0 and value(found, "retrains_superseded") == 0
    place.expect([one[0], two[0]])


def value(found: dict[str, float], name: str, label: str = "") -> float | None:
    """The one value of a metric in this test's workspace; None while there is none."""
    values = [
        number
        for key, number in found.items()
        if key.startswith(f"ray_lmeraser_{name}{{") and label in key
    ]
    return values[-1] if values else None


@pytest.mark.long
def test_a_second_serve_is_refused(place: Place) -> None:
    """In one sentence; and one for a copy of the workspace too, whose actor would be the same."""
    with serving(place, gated=False) as service:
        service.actor()
        session = Session(place.session.root, overrides=(("execution.engine", "ray"),))
        with pytest.raises(ExecutionError, match="Another `lmeraser queue serve` attends"):
            serve(session, keys=key_folder(None), say=lambda _: None, stop=Stop())
        assert not service.ended
        inline = Session(place.session.root)
        with pytest.raises(ExecutionError, match=r"Another queue \(.*\) works on this workspace"):
            serve(inline, keys=key_folder(None), say=lambda _: None, stop=Stop())


@pytest.mark.long
def test_the_actor_outlives_its_serve(place: Place, tmp_path: Path) -> None:
    """A real `lmeraser queue serve` on a cluster that is not its own is killed with -9: the actor
    goes on, only the signature waits for the next one, which finds the same actor. SIGTERM ends
    both."""
    import ray

    name = place.lanes()[0][0]
    address = ray.get_runtime_context().gcs_address
    words = [
        "serve",
        "--workspace",
        str(place.session.root),
        "--execution.engine",
        "ray",
        "--execution.address",
        address,
    ]
    line = [sys.executable, "-m", "lmeraser_ray", "queue", *words]
    files = [tmp_path / "first", tmp_path / "second"]

    def attends(file: Path) -> int | None:
        found = [line for line in file.read_text().splitlines() if " event=attending " in line]
        return int(found[0].rpartition("process=")[2]) if found else None

    with open(files[0], "w") as log:
        first = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=log)
    try:
        until(lambda: attends(files[0]) or first.poll(), "the first serve")
        actor = attends(files[0])
        assert actor, files[0].read_text()
    finally:
        first.kill()
        first.wait()
    made = place.submit(name)
    until(lambda: place.states()[made] is State.PURGED, "the actor by itself")
    with open(files[1], "w") as log:
        second = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=log)
    try:
        until(lambda: place.certified(made) or second.poll(), "the signature")
        assert attends(files[1]) == actor, files[1].read_text()
        second.terminate()
        assert second.wait(PATIENCE) == 0, files[1].read_text()
    finally:
        second.kill()
        second.wait()
    until(lambda: not alive(actor), "the end of the actor")
    assert not place.standing().live
    place.expect([name])


@pytest.mark.long
def test_what_was_given_up_is_ended(place: Place) -> None:
    """An engine that is closed with work under way, as when a round ends in an error, leaves no
    task behind that takes a slot."""
    name = place.lanes()[0][0]
    place.submit(name)
    with serving(place) as service:
        pid = service.actor()
        until(lambda: len(place.gate.begun()) == 1, "the training")
        [begun] = place.gate.begun()
        stop_between_transactions(pid, Path(place.session.root))
        try:
            with place.session.database() as database:
                from lmeraser_ray.erasure.queue.lease import Lease

                Lease.claim(database, "another", timeout_s=10.0, force=True).release()
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: len(place.gate.begun()) == 2, "the training of the next epoch")
        until(lambda: not alive(begun.pid), "the end of the first")
        assert service.told("lost")
        place.gate.open()
    place.expect([name])
