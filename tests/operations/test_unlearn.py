"""`unlearn` where it does not come to its end: what it says of the erasure is read from the state
of the request."""

from pathlib import Path

import pytest

from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, LmeraserError, VerificationError
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.requests import status, submit, wait
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from tests.support.world import World


def interrupted(
    session: Session, name: str, error: type[LmeraserError], keys: KeyFolder | None = None
) -> str:
    """What an `unlearn` says that ends in an error."""
    with pytest.raises(error) as found:
        unlearn(session, ErasureTargets((name,)), keys=keys)
    return str(found.value)


def test_without_a_key_only_the_certificate_is_missing(world: World, tmp_path: Path) -> None:
    session = Session(world.space())
    train(session, world.config())
    before = fingerprint(session)
    said = interrupted(session, world.ids[3], ConfigError, KeyFolder(tmp_path / "none"))
    assert fingerprint(session) != before
    assert "is PURGED: everything is purged and searched" in said
    assert "the state before it" not in said


def test_a_finding_leaves_a_published_state(world: World) -> None:
    session = Session(world.space())
    train(session, world.config())
    before = fingerprint(session)
    (Path(session.root) / "notes.txt").write_text("not of a workspace")
    said = interrupted(session, world.ids[3], VerificationError)
    assert fingerprint(session) != before
    assert "is PUBLISHED: the state without its records is published" in said
    (Path(session.root) / "notes.txt").unlink()
    assert unlearn(session, ErasureTargets((world.ids[3],))).request.state is State.CERTIFIED


def test_waiting_ends_where_no_queue_is_alive(world: World) -> None:
    """Also with no timeout; the request stays open."""
    session = Session(world.space())
    train(session, world.config())
    made = submit(session, ErasureTargets((world.ids[3],)))
    assert wait(session, made.id, while_served=True).state is State.RECEIVED
    assert status(session, made.id) == made
