"""The queue on Ray where something fails: a killed actor, a killed worker, a retrain that always
fails, a second `serve`. What is published in the end is always the law's state."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ExecutionError
from lmeraser_ray.operations.queue import serve
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.pipeline.session import Session
from tests.support.children import stop_between_transactions
from tests.support.ray_queue import PATIENCE, Place, alive, serving, until

pytestmark = [pytest.mark.usefixtures("cluster"), pytest.mark.long]


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
