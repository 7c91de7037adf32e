"""The law for a configuration that a sweep chose: the manifest says which live records the choice
saw, and forgets with them."""

import json
from pathlib import Path

import numpy as np
import pytest

from lmeraser_ray.data.index import RecordIndex
from lmeraser_ray.erasure.certificate.statement import ChoiceCount
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.operations.restore import restore
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.operations.verify import verify
from lmeraser_ray.pipeline.choice import Choice, choice_in, flags_in
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from tests.support.law import chosen, expect_equal, held, never_seen, trained_and_unlearned
from tests.support.quick import cases
from tests.support.world import World

VALUES = {"partition.shards": "4"}


def read(root: Path) -> tuple[WorkspaceFolder, RecordIndex]:
    folder = WorkspaceFolder(root)
    return folder, RecordIndex.read(
        folder.store, [state.bucket for state in folder.require_published().buckets]
    )


def recorded(world: World, *, without: tuple[str, ...] = ()) -> dict[str, str]:
    """The `sweep` section of a configuration that was chosen on the training records, some of which
    the sweep did not see."""
    root = world.space()
    train(Session(root), world.without(without))
    _, index = read(root)
    keep = [name for name, test in zip(index.names("record_id"), index.test, strict=True) if test]
    train(Session(root), world.without([*without, *keep], data={"allow_missing": True}))
    _, index = read(root)
    path = world.folder / "choice.json"
    path.write_bytes(Choice.of(world.config(), VALUES, index).to_bytes())
    return {"record": str(path)}


CASES = ["sampled", "unsampled", "test record", "class", "everything"]


@pytest.mark.parametrize("case", cases([(case,) for case in CASES], quick=[("sampled",)]))
def test_the_record_of_a_choice_forgets_too(world: World, case: str) -> None:
    """Law 1 where a sweep chose: the manifest lists what the choice saw of the live records,
    whoever was erased."""
    gone = chosen(world, case)
    sections = {"sweep": recorded(world)}
    forgotten = trained_and_unlearned(world, [ErasureTargets(tuple(gone))], **sections)
    expect_equal(forgotten, never_seen(world, gone, **sections))
    folder, index = read(forgotten)
    said = folder.require_published().choice
    assert said is not None
    assert (
        said["records"] == len(index.training) == sum(flags_in(folder.require_published(), index))
    )
    assert verify(Session(forgotten), rebuild=True).ok


def test_what_a_choice_did_not_see_is_not_listed(world: World) -> None:
    """A bit is a record's own: those that the sweep never had stay 0, before and after others are
    erased."""
    apart = tuple(world.ids[2:4])
    sections = {"sweep": recorded(world, without=apart)}
    root = trained_and_unlearned(world, [ErasureTargets((world.ids[5],))], **sections)
    folder, index = read(root)
    flags = flags_in(folder.require_published(), index)
    unseen = {name for name, flag in zip(index.names("record_id"), flags, strict=True) if not flag}
    assert unseen == {*apart, *index.names("record_id", np.flatnonzero(index.test))}
    back = choice_in(folder.store, folder.require_published())
    assert back is not None
    assert back.flags(index).tolist() == flags.tolist()


def test_a_choice_changes_no_constituent(world: World) -> None:
    """With and without the record every object is the same but the manifest; without it the
    manifest says nothing of a choice."""
    plain = trained_and_unlearned(world, [])
    chosen_by_a_sweep = trained_and_unlearned(world, [], sweep=recorded(world))
    one, other = (
        {
            name: data
            for name, data in held(root).items()
            if "manifests/" not in name and name != "CURRENT"
        }
        for root in (plain, chosen_by_a_sweep)
    )
    assert one == other
    assert fingerprint(Session(plain)) != fingerprint(Session(chosen_by_a_sweep))
    assert "choice" not in json.loads(WorkspaceFolder(plain).require_published().to_bytes())


def test_unlearning_says_what_the_choice_had_seen(world: World) -> None:
    apart = (world.ids[2],)
    root = trained_and_unlearned(world, [], sweep=recorded(world, without=apart))
    _, index = read(root)
    training = set(index.names("record_id", index.training))
    gone = [*apart, *sorted(training - set(apart))[:3]]
    done = unlearn(Session(root), ErasureTargets(tuple(gone)))
    assert done.seen == 3
    assert done.statement.choice == ChoiceCount(3, 4), "and the certificate says so"
    person = next(
        subject
        for name, subject in zip(world.ids, world.subjects, strict=True)
        if name in training - set(gone)
    )
    left = [
        name
        for name, subject in zip(world.ids, world.subjects, strict=True)
        if subject == person and name in training - set(gone)
    ]
    assert unlearn(Session(root), ErasureTargets(subjects=(person,))).seen == len(left)
    plain = trained_and_unlearned(world, [])
    never = unlearn(Session(plain), ErasureTargets(tuple(gone)))
    assert (never.seen, never.statement.choice) == (0, None)


def test_a_restored_workspace_knows_what_its_choice_saw(world: World) -> None:
    """A backup from before an erasure, restored with the erasure known, is the state that never saw
    the record, bits included."""
    section = recorded(world)
    root, archive = trained_and_unlearned(world, [], sweep=section), world.folder / "backup.tar"
    backup(Session(root), to=archive, erasures=None)
    unlearn(Session(root), ErasureTargets((world.ids[5],)))
    restore(Session(root), archive)
    expect_equal(root, never_seen(world, [world.ids[5]], sweep=section))


def test_mistakes_about_a_record_are_named(world: World) -> None:
    section = recorded(world)
    with pytest.raises(
        ConfigError, match=r"partition\.shards 4 was chosen, this configuration has another value"
    ):
        train(Session(world.space()), world.config(sweep=section, partition={"shards": 3}))
    Path(section["record"]).write_text("{}")
    with pytest.raises(ConfigError, match=r"choice\.json"):
        train(Session(world.space()), world.config(sweep=section))
    with pytest.raises(ConfigError, match=r"gone\.json"):
        train(
            Session(world.space()), world.config(sweep={"record": str(world.folder / "gone.json")})
        )
