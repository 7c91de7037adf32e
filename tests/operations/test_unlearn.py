"""`unlearn` where it does not come to its end: what it says of the erasure is read from the state
of the request, and what can be looked at before is looked at before the request is written."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.queue import quarantine
from lmeraser_ray.erasure.queue.loop import Queue
from lmeraser_ray.erasure.requests import request
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, ExecutionError, LmeraserError, VerificationError
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.queue import run
from lmeraser_ray.operations.requests import status, submit, wait
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage import store
from lmeraser_ray.storage.database import tables
from lmeraser_ray.storage.database.database import Database
from tests.support.world import World


@pytest.fixture
def session(world: World) -> Session:
    made = Session(world.space())
    train(made, world.config())
    return made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    made = KeyFolder(tmp_path / "keys")
    made.init()
    return made


def interrupted(
    session: Session,
    name: str,
    error: type[LmeraserError] | type[KeyboardInterrupt],
    keys: KeyFolder | None = None,
) -> str:
    """What an `unlearn` says that ends in an error."""
    with pytest.raises(error) as found:
        unlearn(session, ErasureTargets((name,)), keys=keys)
    return str(found.value)


def asked(session: Session) -> int:
    """How many requests the database holds."""
    with closing(Database.open(session.root, None)) as database, database.read() as connection:
        return connection.scalar(select(func.count()).select_from(tables.requests)) or 0


def before_working(monkeypatch: pytest.MonkeyPatch, act) -> None:
    """Have something happen once the request is written, before the queue works."""
    work = Queue.work

    def late(queue: Queue, *arguments, **options) -> None:
        act()
        work(queue, *arguments, **options)

    monkeypatch.setattr(Queue, "work", late)


def test_every_state_has_a_meaning() -> None:
    assert set(request.MEANING) == set(State)


def test_without_a_key_nothing_is_submitted(world: World, session: Session, tmp_path: Path) -> None:
    before = fingerprint(session)
    said = interrupted(session, world.ids[3], ConfigError, KeyFolder(tmp_path / "none"))
    assert fingerprint(session) == before
    assert asked(session) == 0
    assert "is no folder of signing keys" in said
    assert "request" not in said


def test_where_the_head_cannot_be_kept_nothing_is_submitted(
    world: World, session: Session, keys: KeyFolder
) -> None:
    (keys.path / "heads").write_text("not a folder")
    interrupted(session, world.ids[3], ExecutionError, keys)
    assert asked(session) == 0
    with pytest.raises(ExecutionError):
        run(session, keys=keys, say=lambda _: None)


def test_on_a_full_disk_nothing_is_submitted(
    world: World, session: Session, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_temporary", full)
    assert "The disk is full" in interrupted(session, world.ids[3], ExecutionError, keys)
    assert asked(session) == 0


def test_where_no_cluster_answers_nothing_is_submitted(
    world: World, session: Session, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lmeraser_ray.distributed import address

    monkeypatch.setattr(address, "ANSWER_S", 0.0)
    away = Session(
        session.root, overrides=(("execution.engine", "ray"), ("execution.address", "127.0.0.1:9"))
    )
    assert "127.0.0.1:9" in interrupted(away, world.ids[3], ExecutionError, keys)
    assert asked(session) == 0


def test_a_key_that_goes_meanwhile_leaves_the_certificate_missing(
    world: World, session: Session, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(session)
    before_working(monkeypatch, lambda: shutil.rmtree(keys.path))
    said = interrupted(session, world.ids[3], ConfigError, keys)
    assert fingerprint(session) != before
    assert "is PURGED: everything is purged and searched" in said
    assert "may still be" not in said


def test_control_c_says_where_the_request_is(
    world: World, session: Session, keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    before_working(monkeypatch, interrupt)
    said = interrupted(session, world.ids[3], KeyboardInterrupt, keys)
    assert "is RECEIVED: nothing of it is done yet" in said
    assert "may still be in the published state" in said


def test_a_submission_whose_quarantine_fails_says_that_the_request_stands(
    world: World, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ExecutionError("The disk failed.")

    monkeypatch.setattr(quarantine, "quarantine_request", broken)
    with pytest.raises(ExecutionError, match=r"disk failed\..*is RECEIVED"):
        submit(session, ErasureTargets((world.ids[3],)), quarantine=True)
    assert asked(session) == 1


def test_a_finding_leaves_a_published_state(world: World, session: Session) -> None:
    before = fingerprint(session)
    (Path(session.root) / "notes.txt").write_text("not of a workspace")
    said = interrupted(session, world.ids[3], VerificationError)
    assert fingerprint(session) != before
    assert "is PUBLISHED: the state without its records is published" in said
    assert said.count("is PUBLISHED") == 1
    (Path(session.root) / "notes.txt").unlink()
    assert unlearn(session, ErasureTargets((world.ids[3],))).request.state is State.CERTIFIED


def test_waiting_ends_where_no_queue_is_alive(world: World, session: Session) -> None:
    """Also with no timeout; the request stays open."""
    made = submit(session, ErasureTargets((world.ids[3],)))
    assert wait(session, made.id, while_served=True).state is State.RECEIVED
    assert status(session, made.id) == made


def test_who_waits_too_long_hears_what_the_state_means(world: World, session: Session) -> None:
    made = submit(session, ErasureTargets((world.ids[3],)))
    with pytest.raises(ExecutionError, match="is RECEIVED: nothing of it is done yet"):
        wait(session, made.id, timeout_s=0)
