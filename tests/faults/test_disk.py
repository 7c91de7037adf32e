"""Rows 10 and 11: a real small disk (tmpfs) under the request database, or under the artifacts, is
full.

A clear error and exit code 5; nothing that is half there is visible; what was acknowledged is kept;
the purge, which makes room, goes on; and with room again the same command ends well.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.operations.fingerprint import fingerprint
from lmeraser_ray.pipeline.session import Session
from tests.support.story import ALONE, LANES, TESTED, Case

pytestmark = pytest.mark.long

Mount = Callable[..., None]
KILLED = -9
PAGE = 4


@dataclass
class Disk:
    """A small disk with a part of the workspace on it, and something else that fills it."""

    root: Path

    @property
    def filler(self) -> Path:
        return self.root / "something-else"

    def fill(self, *, leave: int = 0) -> None:
        """Leave so many KiB."""
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(PAGE * 1024))
            except OSError:
                pass
            os.truncate(file.fileno(), max(0, file.tell() - leave * 1024))

    def free(self) -> None:
        self.filler.unlink()


def under_the_artifacts(case: Case, mount: Mount) -> Disk:
    """Put `objects` on a disk of 2 MiB."""
    objects, disk = case.root / "objects", case.root.with_name("disk")
    disk.mkdir()
    mount(disk, kib=2048)
    objects.rename(kept := case.root.with_name("kept"))
    os.system(f"cp -a '{kept}' '{disk}/objects'")
    objects.mkdir()
    mount(objects, bind=disk / "objects")
    return Disk(disk)


def under_the_database(case: Case, mount: Mount) -> Disk:
    """Put all but `objects` on a disk of 1 MiB."""
    disk, kept = case.root.with_name("disk"), case.root.with_name("kept")
    disk.mkdir()
    mount(disk, kib=1024)
    case.root.rename(kept)
    (disk / "workspace").mkdir(mode=0o700)
    for path in kept.iterdir():
        if path.name != "objects":
            os.system(f"cp -a '{path}' '{disk}/workspace/'")
    (disk / "workspace" / "objects").mkdir()
    case.root.mkdir()
    mount(case.root, bind=disk / "workspace")
    mount(case.root / "objects", bind=kept / "objects")
    return Disk(disk)


def expect_no_partial(case: Case) -> None:
    """Every object is whole, and there is no other file."""
    store = case.session.folder.store
    named = {store.path(item) for item in store.objects()}
    assert all(store.sound(item) for item in store.objects())
    assert {path for path in store.files() if store.root / "tmp" not in path.parents} == named


def expect_full(ended: object, case: Case) -> None:
    assert ended.code == 5, ended  # type: ignore[attr-defined]
    last = ended.err.splitlines()[-1]  # type: ignore[attr-defined]
    assert last.startswith("lmeraser: error: "), last
    assert "disk is full" in last, last
    assert "Free some space" in last, last


def test_full_under_the_artifacts(case: Case, mount: Mount) -> None:
    """Row 11: with a little more room each time, so that each write in turn is the one that finds
    none, until the erasure gets through."""
    disk = under_the_artifacts(case, mount)
    before = case.published()
    case.ask(*(case.ids[i] for i in LANES))
    found = set()
    for leave in count(0, PAGE):
        disk.fill(leave=leave)
        ended = case.work().end()
        expect_no_partial(case)
        if ended.code == 0:
            break
        expect_full(ended, case)
        found.add(ended.err.splitlines()[-1].split("objects/")[-1].split("/")[0])
        assert case.published() == before
        assert State.CERTIFIED not in case.states().values()
        disk.free()
    assert leave > 2 * PAGE
    case.expect_whole()


def test_full_in_the_middle_of_a_training(case: Case, mount: Mount) -> None:
    """Row 11: the disk fills while constituents are trained. The request is not given up for that,
    and what is trained is kept."""
    disk = under_the_artifacts(case, mount)
    before = case.published()
    case.ask(*(case.ids[i] for i in LANES))
    child = case.work(pause=("before constituent", 2))
    child.reached()
    disk.fill()
    child.go_on()
    expect_full(child.end(), case)
    expect_no_partial(case)
    assert case.published() == before
    disk.free()
    case.settle()
    assert set(case.trained().values()) == {1}
    case.expect_whole()


def test_the_purge_needs_no_room_under_the_artifacts(case: Case, mount: Mount) -> None:
    """Row 11: published, then killed before the purge, then the disk is full to the last byte: the
    erasure is certified all the same."""
    disk = under_the_artifacts(case, mount)
    case.ask(case.ids[ALONE])
    assert case.work(die=("before removal", 1)).end().code == KILLED
    assert list(case.states().values()) == [State.PUBLISHED]
    disk.fill()
    case.settle()
    case.expect_whole()


def test_the_purge_makes_room_for_what_cannot_be_trained(case: Case, mount: Mount) -> None:
    """Row 11: as above, with a second request that needs room to be trained: it fails for now, the
    first one is purged all the same."""
    disk = under_the_artifacts(case, mount)
    first, second = case.ask(case.ids[18]), case.ask(case.ids[1], case.ids[14])
    assert case.work(die=("before removal", 1)).end().code == KILLED
    assert case.states() == {first: State.PUBLISHED, second: State.TRAINING}
    disk.fill()
    expect_full(case.work().end(), case)
    assert case.states() == {first: State.CERTIFIED, second: State.TRAINING}
    disk.free()
    case.settle()
    case.expect_whole()


def test_full_under_the_database(case: Case, mount: Mount) -> None:
    """Row 10: nothing is acknowledged that is not committed; what was is kept; each command says so
    and ends well with room."""
    disk = under_the_database(case, mount)
    case.submit(case.ids[ALONE])
    disk.fill()
    ended = case.submission(case.ids[TESTED]).end()
    assert ended.out == ""
    expect_full(ended, case)
    expect_full(case.work().end(), case)
    assert case.states() == dict.fromkeys(case.acknowledged, State.RECEIVED)
    disk.free()
    case.submit(case.ids[TESTED])
    case.settle()
    case.expect_whole()


@pytest.mark.parametrize(
    "point", [("before constituent", 1), ("after constituent", 1), ("before pointer", 1)]
)
def test_full_under_the_database_in_the_middle(
    case: Case, mount: Mount, point: tuple[str, int]
) -> None:
    """Row 10: while something is trained, before it is published, in the transaction that publishes
    it: all old or all new."""
    disk = under_the_database(case, mount)
    old, new = (
        case.published(),
        fingerprint(Session(case.truth.without(frozenset([case.ids[ALONE]])))),
    )
    case.ask(case.ids[ALONE])
    child = case.work(pause=point)
    child.reached()
    disk.fill()
    child.go_on()
    expect_full(child.end(), case)
    expect_no_partial(case)
    assert case.published() == (new if "pointer" in point[0] else old)
    assert State.PURGED not in (found := set(case.states().values()))
    assert State.PUBLISHED not in found or case.published() == new
    disk.free()
    case.settle()
    case.expect_whole()


def test_the_purge_goes_on_though_the_database_is_full(case: Case, mount: Mount) -> None:
    """Row 10: everything is removed that must be; that it was cannot be noted, so nothing is
    certified; with room it is."""
    disk = under_the_database(case, mount)
    case.ask(case.ids[ALONE])
    child = case.work(pause=("before removal", 1))
    child.reached()
    disk.fill()
    child.go_on()
    expect_full(child.end(), case)
    assert list(case.states().values()) == [State.PUBLISHED]
    left = {path for path in case.found(frozenset([case.ids[ALONE]])) if "/objects/" in path}
    assert left == set()
    disk.free()
    case.settle()
    case.expect_whole()
