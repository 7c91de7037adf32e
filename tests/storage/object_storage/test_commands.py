"""Whole commands on a workspace in a bucket: every verb, a backup that is restored, and the places
in which no workspace is made."""

from pathlib import Path

import pytest

from lmeraser_ray.cli import main as cli
from lmeraser_ray.data.subjects import is_test_subject
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.choice import choice_of
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.object_storage.path import ObjectPath
from tests.support.world import World


def test_without_a_server_for_the_requests(
    s3: str, place: ObjectPath, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LMERASER_DATABASE", raising=False)
    with pytest.raises(
        ConfigError, match="no SQLite file can be: its erasure requests need PostgreSQL"
    ):
        train(Session(place), world.config())


def test_a_prefix_with_something_else_in_it(
    object_storage: str, place: ObjectPath, world: World
) -> None:
    (place / "holiday.jpg").write(b"mine")
    with pytest.raises(ConfigError, match=r"holds 'holiday.jpg', which is no part of a workspace"):
        train(Session(place), world.config())
    assert (place / "holiday.jpg").read_bytes() == b"mine"


def test_every_command(
    object_storage: str,
    place: ObjectPath,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A user's day: all by the command line."""
    train(Session(place), world.config())
    picture = tmp_path / "picture.png"
    picture.write_bytes(world.images[0])

    def lmeraser(verb: str, *words: str) -> str:
        assert cli.run(verb, [*words, "--workspace", str(place), "--quiet"]) == 0, (
            capsys.readouterr().err
        )
        return capsys.readouterr().out

    before = lmeraser("fingerprint")
    assert "class-" in lmeraser("predict", str(picture))
    for verb in ("evaluate", "cost", "status"):
        lmeraser(verb)
    training = [subject for subject in world.subjects if not is_test_subject(0, subject, 0.2)]
    request = lmeraser("submit", "--subjects", training[0]).strip()
    lmeraser("queue", "run")
    assert "CERTIFIED" in lmeraser("status", request)
    lmeraser("certificate", request)
    assert lmeraser("fingerprint") != before
    for words in (("verify", "--rebuild"), ("audit",)):
        lmeraser(*words)
    lmeraser("sweep", "--study", str(tmp_path / "study"), "--sweep", "partition.shards=3,4")
    seen = choice_of(tmp_path / "study" / "choice.json").seen
    assert len(seen) == len(training) - training.count(training[0]), (
        "who was erased in the bucket is left out"
    )


def test_backup_and_restore(
    object_storage: str, place: ObjectPath, world: World, tmp_path: Path
) -> None:
    """Who was erased after the backup is erased again, and what is restored is what was there
    before."""
    train(Session(place), world.config())
    backup(Session(place), to=tmp_path / "backup.tar", erasures=None)
    unlearn(Session(place), ErasureTargets((world.ids[5],)))
    before = fingerprint(Session(place))
    done = restore(Session(place), tmp_path / "backup.tar")
    assert done.erased_again == 1
    assert fingerprint(Session(place)) == before
