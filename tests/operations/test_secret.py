"""The secret of a workspace, outside of it, rotated and retired: what a thief of a copy can test,
that nobody comes back, and that no crash loses it."""

import hmac
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.keystore import key_folder
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, LmeraserError
from lmeraser_ray.operations.audit import audit
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.queue import run
from lmeraser_ray.operations.requests import submit
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.secret import secret
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.secret_place import SECRET_VARIABLE
from lmeraser_ray.storage.times import utcnow
from tests.support.children import Nursery
from tests.support.crashes import Story, deaths
from tests.support.world import World

THIRD = "person-3"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("secret") / "world", n=24)


@pytest.fixture(scope="module")
def erased(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that has erased one person."""
    root = tmp_path_factory.mktemp("erased") / "workspace"
    train(Session(root), world.config())
    unlearn(Session(root), ErasureTargets(subjects=(THIRD,)))
    return root


@pytest.fixture
def session(erased: Path, tmp_path: Path) -> Session:
    shutil.copytree(erased, tmp_path / "workspace")
    return Session(tmp_path / "workspace")


@pytest.fixture
def outside(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the workspace's secret was moved to."""
    path = tmp_path / "elsewhere"
    secret(session, "move", to=path)
    monkeypatch.setenv(SECRET_VARIABLE, f"file:{path}")
    return path


def holds(session: Session, *people: str) -> set[str]:
    """Who of these is in the published state."""
    manifest = session.folder.require_published()
    index = RecordIndex.read(session.folder.store, [state.bucket for state in manifest.buckets])
    return {subject for _, subject in index.people()} & {*people}


def confirmed(copy: Path, candidates: list[str]) -> set[str]:
    """Who of the candidates a thief of a copy recognises among the erased: each window of 32 bytes
    and each run of 64 digits in a small file is tried as the key."""
    database = (copy / "requests.db").read_bytes()
    keys = set()
    for path in copy.iterdir():
        if path.is_file() and path.name != "requests.db":
            data = path.read_bytes()
            keys |= {data[at : at + 32] for at in range(max(0, len(data) - 31))}
    for at in range(len(database) - 63):
        part = database[at : at + 64]
        if part.isalnum() and all(digit in b"0123456789abcdef" for digit in part):
            keys.add(bytes.fromhex(part.decode()))
    return {
        name
        for name in candidates
        for key in keys
        if hmac.digest(key, f"subject\n{name}".encode(), "sha256").hex().encode() in database
    }


def test_who_copies_a_workspace_can_test_names_only_with_its_secret(
    session: Session, tmp_path: Path
) -> None:
    candidates = ["person-3", "person-5", "nobody"]
    shutil.copytree(session.root, tmp_path / "before")
    assert confirmed(tmp_path / "before", candidates) == {THIRD}
    secret(session, "move", to=tmp_path / "elsewhere")
    shutil.copytree(session.root, tmp_path / "after")
    assert confirmed(tmp_path / "after", candidates) == set()
    key = (tmp_path / "before" / "secret").read_bytes()
    for path in (tmp_path / "after").rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert key not in data
        assert key.hex().encode() not in data


def test_a_moved_secret_works_where_it_is_given_and_only_there(
    session: Session, outside: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(session)
    assert outside.stat().st_mode & 0o777 == 0o600
    assert secret(session).place == "file"
    train(session, world.config())
    assert fingerprint(session) == before
    assert audit(session, {}).workspace == session.names().workspace_id
    monkeypatch.delenv(SECRET_VARIABLE)
    for command in (
        lambda: train(session, world.config()),
        lambda: submit(session, ErasureTargets(subjects=("person-5",))),
        lambda: audit(session, {}),
        lambda: secret(session),
    ):
        with pytest.raises(ConfigError, match=SECRET_VARIABLE):
            command()
    assert (Path(session.root) / "secret").read_bytes().startswith(b"outside ")


def test_places_that_a_secret_is_not_moved_to(session: Session, tmp_path: Path) -> None:
    root = Path(session.root)
    before = (root / "secret").read_bytes()
    taken, link, shared = tmp_path / "taken", tmp_path / "link", tmp_path / "shared"
    taken.touch(0o600)
    link.symlink_to(tmp_path / "target")
    for to, said in (
        (root / "objects" / "x", "within the workspace"),
        (Path("relative"), "the whole path"),
        (tmp_path / "no" / "x", "the whole path"),
        (taken, "is another file"),
        (link, "no link"),
    ):
        with pytest.raises(ConfigError, match=said):
            secret(session, "move", to=to)
    with pytest.raises(ConfigError, match="needs --to"):
        secret(session, "move")
    assert (root / "secret").read_bytes() == before
    assert not shared.exists()
    secret(session, "move", to=shared)
    with pytest.raises(ConfigError, match="lies outside already"):
        secret(session, "move", to=tmp_path / "again")


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_nobody_comes_back_after_a_rotation(
    session: Session, world: World, where: str, request: pytest.FixtureRequest
) -> None:
    """Erased before it, between, and after; a request from before it is worked off after it."""
    if where == "outside":
        request.getfixturevalue("outside")
    waiting = submit(session, ErasureTargets(subjects=("person-5",)), key="k")
    done = secret(session, "rotate")
    assert [one.version for one in done.versions] == [1, 2]
    assert done.versions[0].needs > 0
    unlearn(session, ErasureTargets(subjects=("person-7",)))
    assert run(session, keys=key_folder(None), say=lambda _: None).open == 0
    train(session, world.config())
    assert holds(session, THIRD, "person-5", "person-7", "person-9") == {"person-9"}
    seen = unlearn(session, ErasureTargets(subjects=(THIRD, "person-5")))
    assert seen.already == (THIRD, "person-5")
    assert submit(session, ErasureTargets(subjects=("person-5",)), key="k").id == waiting.id
    done = audit(session, key_folder(None).public_keys())
    assert done.differences == ()
    assert done.certificates == 4


def test_readmission_finds_a_tombstone_of_before_a_rotation(
    session: Session, world: World, tmp_path: Path
) -> None:
    secret(session, "rotate")
    people, records = tmp_path / "people.txt", tmp_path / "records.txt"
    people.write_text(f"{THIRD}\n")
    records.write_text("".join(f"{name}\n" for name in world.ids if name.startswith(THIRD)))
    again = {"readmit": str(records), "readmit_subjects": str(people)}
    train(session, world.config(data=again))  # type: ignore[arg-type]
    assert holds(session, THIRD) == {THIRD}
    assert secret(session, "retire").versions[0].retired is not None


def test_what_expired_is_not_put_back_and_its_version_can_be_retired(
    session: Session, world: World
) -> None:
    """Neither by a training nor by an audit, which compare tombstones with certificates; a backup
    of before is restored without the retired version."""
    backup(session, to=Path(session.root).parent / "tar", erasures=None)
    secret(session, "rotate")
    assert secret(session, "retire").versions[0].retired is None
    config = world.config(queue={"tombstone_days": 30}, data={"exclude": excluded(world)})
    for days in (0, 31, 32):
        with time_machine.travel(utcnow() + timedelta(days=days)):
            train(session, config)
    assert audit(session, key_folder(None).public_keys()).differences == ()
    assert secret(session, "retire").versions[0].retired is not None
    train(session, config)
    done = audit(session, key_folder(None).public_keys())
    assert (done.differences, done.stones.tombstones) == ((), 0)
    new = Session(Path(session.root).parent / "new")
    shutil.copytree(session.root, new.root)
    (Path(new.root) / "requests.db").unlink()
    restore(new, Path(session.root).parent / "tar", no_later_erasures=True)
    assert audit(new, key_folder(None).public_keys()).differences == ()
    train(new, config)


def excluded(world: World) -> str:
    """A list of the erased in the source, as whoever forgets them there would have it."""
    path = world.folder / "excluded.txt"
    path.write_text("".join(f"{name}\n" for name in world.ids if name.startswith(f"{THIRD}/")))
    return str(path)


def test_a_backup_of_a_workspace_whose_secret_is_outside_does_not_hold_it(
    session: Session, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(session, to=tmp_path / "tar", erasures=tmp_path / "erasures")
    digits = [secret.hex().encode() for secret in session.names().keyring.secrets.values()]
    data = (tmp_path / "tar").read_bytes() + (tmp_path / "erasures").read_bytes()
    assert not any(found in data or bytes.fromhex(found.decode()) in data for found in digits)
    monkeypatch.delenv(SECRET_VARIABLE)
    with pytest.raises(ConfigError, match=SECRET_VARIABLE):
        restore(Session(tmp_path / "new"), tmp_path / "tar", no_later_erasures=True)
    monkeypatch.setenv(SECRET_VARIABLE, f"file:{outside}")
    restore(Session(tmp_path / "new"), tmp_path / "tar", no_later_erasures=True)
    assert fingerprint(Session(tmp_path / "new")) == fingerprint(session)


def test_an_old_backup_is_restored_after_move_and_rotation(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds version 1 of the secret; who was erased since is known under version 2."""
    backup(session, to=tmp_path / "tar", erasures=None)
    secret(session, "move", to=tmp_path / "elsewhere")
    monkeypatch.setenv(SECRET_VARIABLE, f"file:{tmp_path / 'elsewhere'}")
    secret(session, "rotate")
    unlearn(session, ErasureTargets(subjects=("person-7",)))
    backup(session, to=None, erasures=tmp_path / "erasures")
    wanted, marker = fingerprint(session), (Path(session.root) / "secret").read_bytes()
    restore(session, tmp_path / "tar")
    new = Session(tmp_path / "new")
    restore(new, tmp_path / "tar", erasures=tmp_path / "erasures")
    for done in (session, new):
        assert fingerprint(done) == wanted
        assert (Path(done.root) / "secret").read_bytes() == marker
        assert holds(done, THIRD, "person-7") == set()
    monkeypatch.delenv(SECRET_VARIABLE)
    with pytest.raises(ConfigError, match="known under version 2 of the secret"):
        restore(Session(tmp_path / "other"), tmp_path / "tar", erasures=tmp_path / "erasures")
    assert not (tmp_path / "other" / "CURRENT").exists()


def test_a_secret_that_can_only_be_read_is_rotated_by_a_file(
    session: Session, outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RING", outside.read_text())
    monkeypatch.setenv(SECRET_VARIABLE, "env:RING")
    with pytest.raises(ConfigError, match="can only be read: give --to FILE"):
        secret(session, "rotate")
    done = secret(session, "rotate", to=tmp_path / "next")
    assert [one.version for one in done.versions] == [1]
    assert done.written == tmp_path / "next"
    monkeypatch.setenv("RING", (tmp_path / "next").read_text())
    assert [one.version for one in secret(session).versions] == [1, 2]


def test_two_workspaces_under_one_master_secret_rotate_and_retire_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "master"
    path.touch(0o600)
    path.write_text("5e" * 32)
    monkeypatch.setenv(SECRET_VARIABLE, f"file:{path}")
    one, other = Session(tmp_path / "one"), Session(tmp_path / "other")
    for each in (one, other):
        train(each, world.config())
        unlearn(each, ErasureTargets(subjects=(THIRD,)))
    secret(one, "rotate")
    for each in (one, other):
        train(each, world.config())
        assert holds(each, THIRD, "person-5") == {"person-5"}
        assert [found.version for found in secret(each).versions] == [1, 2]
    with pytest.raises(ConfigError, match="This is a master secret"):
        secret(one, "retire")


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("what", ["move", "rotate"])
def test_a_secret_is_never_lost(
    children: Nursery, story: Story, trained: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each change of the disk: either the secret of before works, or the new one, and
    the same command ends what was begun."""
    story.forget(trained, 2)
    to = story.base / f"outside-{what}"

    def prepare() -> Path:
        to.unlink(missing_ok=True)
        return story.fresh(trained)

    for root, where in deaths(children, prepare, change_of, what, to):
        monkeypatch.delenv(SECRET_VARIABLE, raising=False)
        if (root / "secret").read_bytes().startswith(b"outside "):
            monkeypatch.setenv(SECRET_VARIABLE, f"file:{to}")
        story.train(root)
        assert story.world.ids[2] not in names_in(root), where
        change_of(root, what, to)
        if what == "move":
            monkeypatch.setenv(SECRET_VARIABLE, f"file:{to}")
        unlearn(Session(root), ErasureTargets((story.world.ids[4],)), keys=story.keys)
        story.train(root)
        assert names_in(root).isdisjoint({story.world.ids[2], story.world.ids[4]}), where
        assert audit(Session(root), story.keys.public_keys()).differences == (), where


def names_in(root: Path) -> set[str]:
    folder = Session(root).folder
    buckets = [state.bucket for state in folder.require_published().buckets]
    return {record for record, _ in RecordIndex.read(folder.store, buckets).people()}


def change_of(root: Path, what: str, to: Path) -> None:
    """The command that dies; again, it goes on."""
    try:
        secret(Session(root), what, to=to if what == "move" else None)  # type: ignore[arg-type]
    except LmeraserError as error:
        if "outside already" not in str(error):
            raise


def test_requests_of_every_state_survive_a_rotation(session: Session, world: World) -> None:
    """A request that failed before a rotation keeps its version when it is tried again."""
    made = submit(session, ErasureTargets(subjects=("person-9",)))
    secret(session, "rotate")
    assert run(session, keys=key_folder(None), say=lambda _: None).open == 0
    with session.database() as database:
        found = RequestRepository(database, session.names()).get(made.id)
    assert (found.state, found.secret) == (State.CERTIFIED, 1)
