"""Quarantine: what was trained on a record stops answering at once, the others answer, until the
state without it is published."""

from pathlib import Path

import pytest

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
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace
from lmeraser_ray.storage.store import StoredObject
from tests.support.held_queue import RANDOM, Held, Place, has
from tests.support.quarantine import asked, keys_of, training_record, two_of_one_shard, work_off
from tests.support.world import Recorder, World, picture


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
