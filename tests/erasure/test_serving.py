"""A queue that serves: it goes on after a crash, after losing its lease, and beside what cannot be
proven. In this process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import time_machine

from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue import round as rounds
from lmeraser_ray.erasure.queue.lease import Lease
from lmeraser_ray.erasure.queue.loop import keep_serving, queue_of, wait_for_turn
from lmeraser_ray.erasure.queue.overview import overview_of
from lmeraser_ray.erasure.requests.events import Event
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.errors import ConfigError, ExecutionError
from lmeraser_ray.operations.queue import run, serve
from lmeraser_ray.operations.stop_signal import Stop
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.times import to_text, utcnow
from tests.support.held_queue import Held, Place, place_of
from tests.support.world import World

PATIENCE = 60.0


@pytest.fixture
def place(world: World) -> Place:
    made = place_of(world, queue={"poll": 0.01, "lease": 2.0})
    made.held.waits = Held.release
    return made


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.01)


def names_of(place: Place) -> list[str]:
    """A record of each constituent."""
    return [
        group[0] for constituent, group in sorted(place.constituents().items()) if constituent >= 0
    ]


@contextmanager
def working(work: Callable[[Stop], object]) -> Iterator[list[BaseException]]:
    """Let a service work in a thread, and end it. Yields what it ended with, if that was an
    error."""
    stop, ended = Stop(), list[BaseException]()

    def run_it() -> None:
        try:
            work(stop)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run_it)
    thread.start()
    try:
        yield ended
    finally:
        stop.ask()
        thread.join(PATIENCE)
        assert not thread.is_alive()


class DiedError(Exception):
    """As good as kill -9."""


def test_what_was_in_training_when_a_queue_died_is_trained_by_the_next(place: Place) -> None:
    def die(_: Held) -> None:
        raise DiedError

    one, two, *_ = names_of(place)
    ids = [place.submit(one), place.submit(two)]
    place.held.waits = die
    with pytest.raises(DiedError):
        place.run()
    assert set(place.states().values()) == {State.TRAINING}
    place.held.waits = Held.release
    place.run()
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    place.expect([one, two])


def test_one_that_is_refused_before_it_begins_is_dropped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nothing must be trained for it, so that the scheduler never heard of it (a test
    record)."""
    name = place.constituents()[-1][0]
    made = place.submit(name)
    begin = rounds.Round._begin

    def refuse_first(self: rounds.Round) -> None:
        if place.states()[made] is State.PLANNED:
            RequestRepository(self.database, place.session.names()).refuse(made, "a legal hold")
        begin(self)

    monkeypatch.setattr(rounds.Round, "_begin", refuse_first)
    place.run()
    assert place.states() == {made: State.REFUSED}
    place.expect([])


def test_no_more_lanes_begin_than_there_are_slots(place: Place) -> None:
    """From the first one on: what has not begun can be left alone by a drain, and joined by what
    comes."""
    place.held.slots = 1
    most: list[int] = []

    def turn(held: Held) -> None:
        most.append(len(held.jobs))
        held.release()

    place.held.waits = turn
    names = names_of(place)
    for name in names:
        place.submit(name)
    place.run()
    assert max(most) == 1 and len(place.held.trained) == len(names)
    place.expect(names)


def test_what_cannot_be_proven_keeps_nobody_from_being_published(place: Place) -> None:
    """A foreign file in the workspace: nothing is certified while it is there, but retrains and
    publications go on."""
    one, two, *_ = names_of(place)
    stray = place.session.root / "notes.txt"
    stray.write_text("somebody's")
    told: list[Event] = []
    with working(
        lambda stop: serve(place.session, keys=key_folder(None), say=told.append, stop=stop)
    ) as ended:
        first = place.submit(one)
        until(lambda: place.states()[first] is State.PUBLISHED, "the first publication")
        until(
            lambda: "notes.txt" in str(overview_of(place.session).snapshot.get("alert")),
            "the alert in the status",
        )
        second = place.submit(two)
        until(lambda: place.states()[second] is State.PUBLISHED, "the second publication")
        stray.unlink()
        until(lambda: set(place.states().values()) == {State.CERTIFIED}, "the certificates")
        assert not ended
    errors = [event for event in told if event.what == "error"]
    assert (
        errors
        and errors[0].facts["pause"] == 1.0
        and "notes.txt" in str(errors[0].facts["message"])
    )
    place.expect([one, two])


def test_a_lease_that_was_lost_is_claimed_again(place: Place) -> None:
    """Another queue took over and has ended: the service goes on in the next epoch; it writes
    nothing in the old one."""
    one, two, *_ = names_of(place)
    told: list[Event] = []
    session = place.session
    with working(
        lambda stop: keep_serving(session, stop.wait, keys=key_folder(None), say=told.append)
    ) as ended:
        first = place.submit(one)
        until(lambda: place.states()[first] is State.CERTIFIED, "a certificate")
        with session.database() as database:
            Lease.claim(database, "another", timeout_s=2.0, force=True).release()
        second = place.submit(two)
        until(lambda: place.states()[second] is State.CERTIFIED, "the next one")
        assert overview_of(session).seen.epoch == 3
        assert not ended
    assert [event.what for event in told if event.what == "lost"] == ["lost"]
    place.expect([one, two])


def test_who_lives_is_not_replaced(world: World) -> None:
    """Nor waited for, however long the lease lasts."""
    place = place_of(world, queue={"poll": 0.01, "lease": 36000.0})
    with queue_of(place.session, keys=None):
        for service in (
            lambda: keep_serving(place.session, lambda _: False, keys=None, say=lambda _: None),
            lambda: run(place.session, keys=key_folder(None), say=lambda _: None, stop=Stop()),
            lambda: serve(place.session, keys=key_folder(None), say=lambda _: None, stop=Stop()),
        ):
            with pytest.raises(ExecutionError, match="Another queue .* works on this workspace"):  # noqa: RUF043
                service()


def far(database: Database, holder: str) -> None:
    """Have the lease be of a process on another machine, that gives a sign of life now."""
    with database.write() as connection:
        said = {"holder": holder, "process": None, "heartbeat_at": to_text(utcnow())}
        connection.execute(tables.lease.update().values(said))


def test_who_died_elsewhere_is_waited_for_and_an_heir_is_not(place: Place) -> None:
    """Nothing is known of the process on the other machine, so its lease must run out; its own
    successor need not wait for that."""
    waited = list[float]()
    with place.session.database() as database, time_machine.travel(utcnow(), tick=False) as clock:

        def pause(seconds: float) -> bool:
            waited.append(seconds)
            clock.shift(seconds)
            return False

        assert Lease.claim(database, "the first", timeout_s=2.0).epoch == 1
        far(database, "Ray actor 1 (process 7 on far)")
        heir = {"takeover_prefix": "Ray actor 1", "name": "Ray actor 1 (process 8 on near)"}
        wait_for_turn(place.session, pause, takeover_prefix=heir["takeover_prefix"])
        with queue_of(place.session, keys=None, **heir) as queue:
            assert queue.lease.epoch == 2
        assert waited == []
        far(database, "process 7 on far")
        wait_for_turn(place.session, pause)
        assert sum(waited) == pytest.approx(2.0, abs=0.02)
        with queue_of(place.session, keys=None) as queue:
            assert queue.lease.epoch == 3


def test_a_service_that_is_told_to_stop_while_it_trains_finishes_that(place: Place) -> None:
    """`serve` in this process: asked in the middle of the first training, it certifies what has
    begun and leaves the rest."""
    place.held.slots = 1
    names = names_of(place)[:2]
    ids = [place.submit(name) for name in names]
    stop = Stop()

    def turn(held: Held) -> None:
        if not stop.asked:
            stop.ask()
        held.release()

    place.held.waits = turn
    done = serve(place.session, keys=key_folder(None), say=lambda _: None, stop=stop)
    assert (dict(done.closed), done.open) == ({State.CERTIFIED: 1}, 1)
    assert done.as_json() == {"certified": 1, "refused": 0, "cancelled": 0, "failed": 0, "open": 1}
    assert sorted(place.states().values()) == [State.CERTIFIED, State.PLANNED]
    rest = run(place.session, keys=key_folder(None), say=lambda _: None, stop=Stop())
    assert (dict(rest.closed), rest.open) == ({State.CERTIFIED: 1}, 0)
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    place.expect(names)


def test_what_happens_is_told_while_this_process_trains(place: Place) -> None:
    """The training holds the main thread; lines and signatures do not wait for its end."""
    told: list[Event] = []
    seen: list[set[str]] = []

    def turn(held: Held) -> None:
        until(
            lambda: any(event.what == "training" for event in told),
            "the line about the training that is under way",
        )
        seen.append({event.what for event in told})
        held.release()

    place.held.waits = turn
    place.submit(names_of(place)[0])
    run(place.session, keys=key_folder(None), say=told.append, stop=Stop())
    assert {"lease", "planned", "training", "shard-started"} <= seen[0] and "certified" not in seen[
        0
    ]
    by_requests = [event.what for event in told if not event.what.startswith("shard-")]
    assert by_requests[-1] == "certified"  # the thread that trains tells of shards when it likes


def test_a_collection_window_is_no_reason_for_run_to_leave_anything(world: World) -> None:
    place = place_of(world, queue={"poll": 0.01, "window": 3600.0})
    place.held.waits = Held.release
    made = place.submit(names_of(place)[0])
    done = run(place.session, keys=key_folder(None), say=lambda _: None, stop=Stop())
    assert place.states() == {made: State.CERTIFIED} and done.open == 0


def test_an_error_of_a_round_ends_run_and_not_serve(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's own settings are impossible: `run` says so at once; `serve` says so, waits, and
    goes on once it is mended."""
    made = place.submit(names_of(place)[0])
    broken = [True]
    start = Held.__call__

    def fail(self: Held, *arguments: object) -> object:
        if broken:
            raise ConfigError("A worker is to have 2 GPUs, the cluster has 0.")
        return start(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Held, "__call__", fail)
    with pytest.raises(ConfigError, match="to have 2 GPUs"):
        run(place.session, keys=key_folder(None), say=lambda _: None, stop=Stop())
    told: list[Event] = []
    with working(
        lambda stop: serve(place.session, keys=key_folder(None), say=told.append, stop=stop)
    ) as ended:
        until(lambda: [event for event in told if event.what == "error"], "the error")
        broken.clear()
        until(lambda: place.states()[made] is State.CERTIFIED, "the certificate")
        assert not ended
