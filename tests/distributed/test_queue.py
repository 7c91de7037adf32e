"""The queue on Ray: a real actor, real tasks, real kill -9. What is published in the end is always
the law's state."""

import subprocess
import sys
import threading
import urllib.request
from typing import Any

import pytest

from lmeraser_ray.config import Config
from lmeraser_ray.distributed.actor_handle import ActorHandle
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.operations.queue import Done
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.engine import Engine
from lmeraser_ray.pipeline.manifest import BackboneCard
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.store import Store
from tests.support.ray_queue import PATIENCE, Place, alive, serving, until

pytestmark = pytest.mark.usefixtures("cluster")


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
    assert service.ended == [Done({State.CERTIFIED: 3}, 0, stopped=True)]
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
    assert service.ended == [Done({State.CERTIFIED: 2}, 1, stopped=True)]
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


@pytest.mark.long
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
