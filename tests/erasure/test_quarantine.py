"""Quarantine: what was trained on a record stops answering at once, the others answer, until the
state without it is published."""

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.loop import queue_of
from lmeraser_ray.erasure.queue.round import Round
from lmeraser_ray.erasure.requests import transitions
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.evaluate import evaluate
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.predict import predict
from lmeraser_ray.operations.requests import cancel, refuse, status, submit
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.serve import run
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.database import database, ledger
from lmeraser_ray.storage.database.ledger import LedgerEntry
from lmeraser_ray.storage.store import StoredObject
from tests.support.held_queue import Held, Place, has
from tests.support.world import Recorder, World, picture

RANDOM = {
    "partition": {"kind": "random", "shards": 4},
    "aggregation": {"kind": "all"},
    "learner": {"epochs": 1},
}


def training_record(session: Session, world: World) -> tuple[str, int]:
    """A record that trains, and the number of its shard."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    names, constituents = current.index.names("record_id"), current.constituents.tolist()
    return next(
        (name, constituent)
        for name, constituent in zip(names, constituents, strict=True)
        if constituent >= 0
    )


def asked(session: Session) -> set[int]:
    """The numbers of the shards that a prediction asks."""
    done = predict(session, [picture(1), picture(2)])
    return {
        done.manifest.shards[int(k)].number for row in done.predictions.routes.shards for k in row
    }


@pytest.mark.parametrize("kind", ["random", "adaptive"])
def test_its_shard_is_silent_until_the_new_state_is_published(world: World, kind: str) -> None:
    sections = RANDOM if kind == "random" else {"aggregation": {"shards": 4, "temperature": None}}
    recorder = Recorder()
    session = recorder.session(world.space())
    train(session, world.config(**sections))
    name, constituent = training_record(session, world)
    assert constituent in asked(session)
    before = fingerprint(session)
    recorder.work.clear()
    submit(session, ErasureTargets((name,)), quarantine=True)
    assert recorder.trained == [], "nothing is trained for it"
    assert fingerprint(session) == before, "the state itself is the same"
    assert session.folder.require_state().quarantined == {
        shard.constituent.key
        for shard in session.folder.require_published().shards
        if shard.number == constituent
    }
    assert asked(session) and constituent not in asked(session)
    scored = evaluate(session)
    assert scored.quarantined == (constituent,)
    assert (
        constituent
        not in {shard for shard, (_, queries) in scored.test.by_shard.items() if queries}
        or kind == "adaptive"
    )
    with queue_of(session, keys=key_folder(None)) as queue:
        queue.round(patient=False, stop=lambda: False)
    assert session.folder.require_state().quarantined == frozenset()
    assert evaluate(session).quarantined == ()
    never = Session(world.space())
    train(never, world.without([name], **sections))
    assert fingerprint(session) == fingerprint(never) != before
    assert (session.root / "CURRENT").read_bytes() == (never.root / "CURRENT").read_bytes()


def test_a_whole_subject_is_silenced(world: World) -> None:
    session = Session(world.space())
    train(session, world.config(**RANDOM))
    folder = session.folder
    submit(session, ErasureTargets(subjects=(world.subjects[0],)), quarantine=True)
    assert 1 <= len(folder.require_state().quarantined) <= 2


def test_where_one_constituent_answers_everything_nothing_answers(world: World) -> None:
    """And it is said, instead of an answer that knows the person."""
    session = Session(world.space())
    train(
        session,
        world.config(partition={"kind": "random", "shards": 1}, aggregation={"kind": "all"}),
    )
    name, _ = training_record(session, world)
    submit(session, ErasureTargets((name,)), quarantine=True)
    for ask in (lambda: predict(session, [picture(1)]), lambda: evaluate(session)):
        with pytest.raises(DataError, match="in quarantine"):
            ask()
    assert unlearn(session, ErasureTargets((name,))).already == ()
    assert len(predict(session, [picture(1)]).predictions.labels) == 1


def test_training_again_meanwhile_keeps_what_must_not_answer_silent(world: World) -> None:
    """The pointer is written again by `train`; the quarantine stays in it."""
    session = Session(world.space())
    train(session, world.config(**RANDOM))
    name, constituent = training_record(session, world)
    submit(session, ErasureTargets((name,)), quarantine=True)
    silent = session.folder.require_state().quarantined
    train(session, world.config(**RANDOM))
    assert session.folder.require_state().quarantined == silent != frozenset()
    assert constituent not in asked(session)


@pytest.mark.parametrize("end", ["refuse", "cancel"])
def test_a_request_that_is_withdrawn_or_refused_ends_its_quarantine(world: World, end: str) -> None:
    """At once; what another request keeps silent stays so."""
    session = Session(world.space())
    train(session, world.config(**RANDOM))
    name, constituent = training_record(session, world)
    made = submit(session, ErasureTargets((name,)), quarantine=True)
    other = submit(session, ErasureTargets((name,)), quarantine=True)
    closing = {"refuse": refuse, "cancel": cancel}[end]
    closing(session, made.id, "legal hold")
    assert constituent not in asked(session)
    closing(session, other.id, "legal hold")
    assert session.folder.require_state().quarantined == frozenset()
    assert constituent in asked(session)


def test_another_requests_publication_keeps_it_silent(world: World) -> None:
    """A shard that is trained again for somebody else has a new constituent, which still knows the
    record in quarantine."""
    session = Session(world.space())
    train(session, world.config(**RANDOM))
    current = PublishedState.read(
        session.folder.store, session.config(), session.folder.require_published()
    )
    names, constituents = current.index.names("record_id"), current.constituents
    kept, gone = [names[i] for i in range(len(names)) if constituents[i] == constituents.max()][:2]
    made = submit(session, ErasureTargets((kept,)), quarantine=True)
    first = session.folder.require_state().quarantined
    digest = current.index.digests[current.places([kept])[kept]].tobytes()
    held = Held(waits=Held.release)
    place = Place(world, Session(session.root, make_engine=held), held, RANDOM)
    held.fail = lambda job: not has(place, job, digest)
    submit(session, ErasureTargets((gone,)))
    for _ in range(2):  # together they fail, then each is tried alone
        place.run(patient=False)
    second = session.folder.require_state().quarantined
    assert len(second) == 1 and second != first
    assert int(constituents.max()) not in asked(session)
    with queue_of(session, keys=key_folder(None)) as queue:
        queue.round(patient=False, stop=lambda: False)
    assert status(session, made.id).state == "CERTIFIED"
    assert session.folder.require_state().quarantined == frozenset()


def test_a_closed_request_has_nothing_to_silence(world: World, tmp_path: Path) -> None:
    from lmeraser_ray.erasure.queue.quarantine import quarantine_request

    session = Session(world.space())
    train(session, world.config(**RANDOM))
    done = unlearn(session, ErasureTargets((world.ids[0],)))
    assert quarantine_request(session, done.request.id) == ()
    unknown = submit(session, ErasureTargets(("nobody",)), quarantine=True)
    assert unknown.state == "RECEIVED"
    assert session.folder.require_state().quarantined == frozenset()


def keys_of(session: Session, *names: str) -> set[str]:
    """The constituents of the published state that were trained on these records."""
    folder = session.folder
    manifest = folder.require_published()
    current = PublishedState.read(folder.store, session.config(), manifest)
    numbers = {int(current.constituents[at]) for at in current.places(names).values()}
    return {shard.constituent.key for shard in manifest.shards if shard.number in numbers}


def two_of_one_shard(session: Session) -> tuple[str, str]:
    """Two records that train the same constituent."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    names, constituents = current.index.names("record_id"), current.constituents
    first, second, *_ = [
        names[i] for i in range(len(names)) if constituents[i] == constituents.max()
    ]
    return first, second


def work_off(session: Session) -> None:
    """What `lmeraser queue run` does."""
    run(session, keys=key_folder(None), say=lambda _: None)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained workspace, to be copied."""
    world = World(tmp_path_factory.mktemp("quarantine"))
    root = world.space()
    train(Session(root), world.config(**RANDOM))
    return root


@pytest.fixture
def session(template: Path, tmp_path: Path) -> Session:
    """A copy of it."""
    return Session(shutil.copytree(template, tmp_path / "workspace"))


def test_a_refused_request_leaves_nothing_in_quarantine(session: Session) -> None:
    """It names a record that is there and one that is not: the record's shard is in quarantine
    until the queue refuses the request, and answers again from then on."""
    known, _ = two_of_one_shard(session)
    made = submit(session, ErasureTargets((known, "nobody")), quarantine=True)
    assert session.folder.require_state().quarantined == keys_of(session, known) != set()
    work_off(session)
    assert status(session, made.id).state is State.REFUSED
    assert session.folder.require_state().quarantined == frozenset()


def test_a_refused_request_leaves_what_another_one_keeps_in_quarantine(session: Session) -> None:
    """Both on one shard; the other one FAILED, so that its record still trains the shard."""
    known, other = two_of_one_shard(session)
    kept = submit(session, ErasureTargets((other,)), quarantine=True)
    with session.database() as opened, opened.write() as conn:
        transitions.fail(conn, kept.id, "the worker died")
    made = submit(session, ErasureTargets((known, "nobody")), quarantine=True)
    work_off(session)
    assert status(session, made.id).state is State.REFUSED
    assert session.folder.require_state().quarantined == keys_of(session, other) != set()
    refuse(session, kept.id, "a legal hold")
    assert session.folder.require_state().quarantined == frozenset()


class Crash(BaseException):
    """The process is gone."""


class Writes:
    """Ends the process, as it were, at one write: right before or after a COMMIT, or before or
    after the pointer is replaced."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int, once: str | None) -> None:
        self.fatal, self.count, self.counts = fatal, 0, once is None
        patch.setattr(database, "committing", self.reach)
        patch.setattr(database, "committed", self.reach)
        patch.setattr(os, "replace", self.around(os.replace))
        append = ledger.append_all

        def watched(conn: Connection, kind: str, entries: Sequence[Any]) -> list[LedgerEntry]:
            self.counts |= kind == once and bool(entries)
            return append(conn, kind, entries)

        patch.setattr(ledger, "append_all", watched)

    def reach(self) -> None:
        if not self.counts or threading.current_thread() is not threading.main_thread():
            return  # the heart of the queue beats when it likes
        self.count += 1
        if self.count == self.fatal:
            raise Crash

    def around(self, real: Callable[..., None]) -> Callable[..., None]:
        def replace(old: str, new: str) -> None:
            if Path(new).name != "CURRENT":
                return real(old, new)
            self.reach()
            real(old, new)
            return self.reach()

        return replace


class Asked:
    """A workspace with three requests that ask for quarantine: `made` and `third` name an id that
    nobody knows too, `kept` FAILED. `made` and `kept` name records of one shard."""

    def __init__(self, root: Path) -> None:
        session = Session(root)
        self.root = root
        self.record, other = two_of_one_shard(session)
        here = keys_of(session, self.record)
        far = next(name for name in session_ids(session) if not keys_of(session, name) <= here)
        self.names = {
            submit(session, ErasureTargets((name, "nobody")), quarantine=True).id: name
            for name in (self.record, far)
        }
        self.made, self.third = self.names
        self.kept = submit(session, ErasureTargets((other,)), quarantine=True).id
        self.names[self.kept] = other
        with session.database() as opened, opened.write() as conn:
            transitions.fail(conn, self.kept, "the worker died")

    def wanted(self, session: Session) -> set[str]:
        """What open requests ask for."""
        return keys_of(
            session,
            *(
                name
                for request, name in self.names.items()
                if status(session, request).state in (State.RECEIVED, State.FAILED)
            ),
        )


def session_ids(session: Session) -> list[str]:
    """The ids of the records that train."""
    folder = session.folder
    current = PublishedState.read(folder.store, session.config(), folder.require_published())
    return current.index.names("record_id", current.index.training)


@pytest.fixture(scope="module")
def asked_for(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    return Asked(shutil.copytree(template, tmp_path_factory.mktemp("asked") / "workspace"))


CLOSING: dict[str, Callable[[Session, str], object]] = {
    "cancel": lambda session, request: cancel(session, request, "a mistake"),
    "refuse": lambda session, request: refuse(session, request, "a legal hold"),
    "queue": lambda session, _: work_off(session),
}


@pytest.mark.parametrize("end", CLOSING)
def test_a_crash_while_a_request_is_closed(asked_for: Asked, tmp_path: Path, end: str) -> None:
    """At each write from its transaction on. Whatever an open request asks for is in quarantine,
    and whoever comes next (the queue, or a command that closes another request) lifts what nobody
    asks for any more."""
    late = 0
    for died in itertools.count(1):
        session = Session(shutil.copytree(asked_for.root, tmp_path / f"{died}"))
        act = partial(CLOSING[end], session, asked_for.third)
        if not die_at(died, act, once="REFUSED" if end != "cancel" else "CANCELLED"):
            break
        quarantined, wanted = session.folder.require_state().quarantined, asked_for.wanted(session)
        assert wanted <= quarantined, died
        late += wanted < quarantined
        copy = Session(shutil.copytree(session.root, tmp_path / f"{died}-next"))
        refuse(copy, asked_for.kept, "a legal hold")
        work_off(session)
        for repaired in (session, copy):
            left = repaired.folder.require_state().quarantined
            assert left == asked_for.wanted(repaired), died
    assert late >= 1, "it died after the request was closed, and before its quarantine was lifted"


def die_at(fatal: int, act: Callable[[], object], *, once: str | None = None) -> bool:
    """Whether an act died at its write of this number, counted from the ledger entry of the kind
    `once`, if one is named."""
    with pytest.MonkeyPatch.context() as patch:
        Writes(patch, fatal, once)
        try:
            act()
        except Crash:
            return True
    return False


@pytest.mark.parametrize("died", [1, 2, 3, 4, 5, 6])
def test_a_crash_while_a_request_is_submitted(session: Session, died: int) -> None:
    """Nobody was told that it is in quarantine; the queue sees to it when it comes, before the
    request has waited for others to come together."""
    name, _ = two_of_one_shard(session)
    config = session.config()
    queue = config.queue.model_copy(update={"window": 3600.0})
    with session.folder.locked() as workspace:
        workspace.save_config(config.model_copy(update={"queue": queue}))
    assert die_at(died, lambda: submit(session, ErasureTargets((name,)), quarantine=True))
    with session.database() as opened, opened.read() as conn:
        committed = bool(conn.exec_driver_sql("SELECT count(*) FROM requests").scalar())
    assert committed == (died > 1)
    with queue_of(session, keys=None) as serving:
        serving.serve(lambda _: True)
    assert session.folder.require_state().quarantined == (
        keys_of(session, name) if committed else frozenset()
    )


def test_a_request_that_comes_while_another_ones_state_is_published(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its shard has a new constituent in that state, which was trained on its record too."""
    gone, late = two_of_one_shard(session)
    submit(session, ErasureTargets((gone,)))
    seen: list[tuple[object, object]] = []
    settle = Round._settle

    def published(self: Round, *args: object, **options: object) -> None:
        seen.append((session.folder.require_state().quarantined, keys_of(session, late)))
        settle(self, *args, **options)  # type: ignore[arg-type]

    put = LockedWorkspace.put_manifest

    def then_submit(self: LockedWorkspace, manifest: Manifest) -> StoredObject:
        submit(session, ErasureTargets((late,)), quarantine=True)
        monkeypatch.setattr(LockedWorkspace, "put_manifest", put)
        return put(self, manifest)

    monkeypatch.setattr(LockedWorkspace, "put_manifest", then_submit)
    monkeypatch.setattr(Round, "_settle", published)
    work_off(session)
    quarantined, wanted = seen[0]
    assert quarantined == wanted != set()
    assert session.folder.require_state().quarantined == frozenset(), "both are erased by now"


def test_a_restored_state_keeps_what_must_not_answer_in_quarantine(
    world: World, tmp_path: Path
) -> None:
    """Its shard has another constituent in the backup than in the state that was there."""
    session = Session(world.space())
    train(session, world.config(**RANDOM))
    added, name = two_of_one_shard(session)
    session = Session(world.space())
    train(session, world.without([added], **RANDOM))
    backup(session, to=tmp_path / "backup.tar", erasures=None)
    train(session, world.config(**RANDOM))
    submit(session, ErasureTargets((name,)), quarantine=True)
    before = session.folder.require_state().quarantined
    restore(session, tmp_path / "backup.tar")
    after = session.folder.require_state().quarantined
    assert after == keys_of(session, name) != set()
    assert after != before
