"""The absence scan of files: whatever is planted is found, whatever is somebody else's is
explained, and nothing is said of whose it was."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmeraser_ray.data.feature_file import pack_features
from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY, FOREIGN
from lmeraser_ray.erasure.absence.scan import scan
from lmeraser_ray.erasure.circumstances import Circumstances
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.trace_gathering import gather_traces
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.store import StoredObject
from tests.support.scan_space import CARD, GONE, IDS, TRACES, Space, hits_of, record_of, traces_for
from tests.support.statements import PLAIN
from tests.support.world import World


def test_nothing_is_left_by_a_real_unlearning(world: World) -> None:
    """The tiny world, its whole flow: everything is found before, nothing after, and every place
    says how it was searched."""
    root = world.space()
    train(Session(root), world.config())
    folder, at, subject = WorkspaceFolder(root), 6, world.subjects[6]
    current = PublishedState.read(folder.store, Session(root).config(), folder.require_published())
    traces = list(
        gather_traces(
            current, sorted(current.places(world.ids[i] for i in (at, at + 1)).values()), {subject}
        )
    )
    with folder.locked() as workspace:
        before = scan(workspace, folder.require_published(), traces, subjects=[subject])
    rows = {
        "row of an erased record",
        "row of an erased subject",
        "row with an erased digest",
        "id",
        "subject",
        "digest",
    }
    assert hits_of(before) == {("records", trace) for trace in rows}
    unlearn(Session(root), ErasureTargets(subjects=(subject,)))
    with folder.locked() as workspace:
        after = scan(workspace, folder.require_published(), traces, subjects=[subject])
    assert after.hits == ()
    assert after.explained == 0
    searched = {one.place: one for one in after.searched}
    empty = {"scratch", "statistics"}  # no command is at work; the learner keeps no statistics
    assert set(searched) == {p.name for p in DATA_INVENTORY if p.base == "workspace"} - empty
    assert all(
        one.files and (one.bytes or one.place == "lock and pin files") for one in after.searched
    )
    where = Circumstances("ray", "sqlite", in_object_storage=True, fetched=True)
    said = json.dumps(after.as_json(after.names, where))
    assert not any(name in said for name in (*world.ids, *world.subjects, str(root)))
    assert {one["place"] for one in after.as_json(after.names, where)["not_searched"]} == {
        p.name for p in DATA_INVENTORY if p.name != "demonstration"
    } - set(searched)


FILES = {
    "objects/tmp/RUN/7-ab": "scratch",
    "objects/tmp/orphan/7-ab": "scratch",
    "objects/constituents/left-over.safetensors": "constituents",
    "objects/pictures/left-over": "pictures",
    "CURRENT.next": "the pointer",
    "configuration.json": "configuration.json",
    "secret": "the secret",
    "requests.lock": "the request database",
    "lock-": FOREIGN,
    ".cache/deep/within/it": FOREIGN,
    "objects/notes": FOREIGN,
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_planted_is_found(space: Space, name: str) -> None:
    """Each kind of trace, at an odd offset."""
    traces = [replace(each, subject_id="person-3") for each in space.erase(*IDS[6:8])]
    assert traces[1] == traces_for(GONE, "person-3")
    with space.folder.locked() as workspace:
        assert scan(workspace, space.manifest, traces).hits == ()
        path = space.root / name.replace("RUN", workspace.store.run)
        path.parent.mkdir(parents=True, exist_ok=True)
        for trace, value in TRACES.items():
            path.write_bytes(b"x" * 1_001 + b"\n" + value + b"\ny")
            found = hits_of(scan(workspace, space.manifest, traces))
            stray = set() if name in ALLOWED else {(FILES[name], "stray file")}
            subject = {(FILES[name], "subject")} if trace == "id" else set()
            assert found == {(FILES[name], trace)} | stray | subject


ALLOWED = ("objects/tmp/RUN/7-ab", "CURRENT.next", "configuration.json", "secret", "requests.lock")


def test_a_name_of_a_file_is_searched_and_not_repeated(space: Space) -> None:
    traces = [replace(each, subject_id="person-3") for each in space.erase(*IDS[6:8])]
    (space.root / "copies" / "person-3").mkdir(parents=True)
    (space.root / "copies" / f"{IDS[7]}.png").write_bytes(b"")
    report = space.scan(traces)
    assert (FOREIGN, "id in a file's name") in hits_of(report)
    assert (FOREIGN, "subject in a file's name") in hits_of(report)
    assert "person-3" not in repr(report.hits)
    assert "person-3" not in json.dumps(report.as_json(report.names, PLAIN))
    assert (
        report.as_json(report.names, PLAIN)["found"] == len(report.hits) == 4
    )  # the folder's name, the file's twice, its being there


def test_rays_folder_is_searched_where_it_is_told(space: Space, tmp_path: Path) -> None:
    traces = space.erase(IDS[7])
    spill = tmp_path / "session" / "ray_spilled_objects"
    spill.mkdir(parents=True)
    (spill / "1-multi-2").write_bytes(bytes(999) + TRACES["pixels"] + TRACES["feature"])
    (spill / "driver.log").write_text(f"INFO lmeraser unlearn --records {IDS[7]}\n")
    (tmp_path / "session" / "latest").symlink_to(spill)
    assert space.scan(traces).hits == ()
    report = space.scan(traces, extra_roots=[tmp_path / "session"])
    assert hits_of(report) == {
        ("Ray's session folder", trace) for trace in ("pixels", "feature", "id")
    }
    assert {hit.path for hit in report.hits} == {
        "ray_spilled_objects/1-multi-2",
        "ray_spilled_objects/driver.log",
    }


def test_a_link_and_what_is_not_reached_are_strays(space: Space) -> None:
    """An object that nobody wants is one too; one of work under way is not, nor one that a job may
    write at any moment."""
    old = list(space.manifest.objects())
    kept = {item: space.folder.store.path(item).read_bytes() for item in old}
    traces = space.erase(IDS[7])
    new = set(space.manifest.objects())
    extra = StoredObject("constituents", "1" * 64, "2" * 64)
    space.folder.store.path(extra).write_bytes(b"weights")
    (space.root / "link").symlink_to(space.root / "CURRENT")
    assert hits_of(space.scan(traces)) == {("constituents", "stray file"), (FOREIGN, "stray file")}
    (space.root / "link").unlink()
    assert hits_of(space.scan(traces, keep=[extra])) == set()
    assert hits_of(space.scan(traces, expected=[("constituents", "1" * 64)])) == set()
    for item in set(old) - new:
        space.folder.store.path(item).write_bytes(kept[item])
    found = hits_of(space.scan(traces, keep=[extra]))
    assert {
        ("records", "id"),
        ("records", "digest"),
        ("pictures", "picture"),
        ("features", "feature"),
        ("pictures", "stray file"),
    } <= found
    assert ("pictures", "picture") in hits_of(
        space.scan(traces, keep=[extra, *old])
    )  # wanted or not: it is an erased record's


def test_a_twin_explains_what_it_owns_and_nothing_else(tmp_path: Path) -> None:
    """Equal pictures under two ids: one goes, the other's bytes are its own. In scratch, they are
    nobody's."""
    image = np.random.default_rng(3).bytes(500)
    space = Space(
        tmp_path / "w",
        [
            *(record_of(name) for name in IDS),
            record_of("a-twin", image=image),
            record_of("b-twin", image=image),
        ],
    )
    traces = space.erase("a-twin")
    report = space.scan(traces)
    assert report.hits == ()
    assert report.explained == 2  # its picture and its feature
    with space.folder.locked() as workspace:
        (workspace.store.scratch / "1-2").write_bytes(image)
        assert hits_of(scan(workspace, space.manifest, traces)) == {("scratch", "picture")}


def test_a_row_that_owns_wrong_bytes_is_found(space: Space) -> None:
    """The picture of the one that went, within the range of one that stayed."""
    traces = space.erase(IDS[7])
    number = next(i for i, s in enumerate(space.manifest.buckets) if s.bucket.size > 2)
    data = bytearray(space.folder.store.read(space.manifest.buckets[number].bucket.pictures))
    data[300:600] = GONE.image
    space.forge(number, pictures=bytes(data))
    assert hits_of(space.scan(traces)) == {("pictures", "picture")}


def test_bytes_and_rows_that_nobody_owns_are_found(space: Space) -> None:
    traces = space.erase(IDS[7])
    one, other = space.manifest.buckets
    store = space.folder.store
    longer = pack_features(
        np.zeros((one.bucket.size + 1, CARD.dimension), np.float32),
        np.zeros((one.bucket.size + 1, 32), np.uint8),
    )
    space.forge(0, pictures=store.read(one.bucket.pictures) + b"a rest", features=longer)
    space.forge(1, features=store.read(other.features) + bytes(4))
    report = space.scan(traces)
    assert hits_of(report) == {
        ("pictures", "bytes of no live record"),
        ("features", "rows of no live record"),
    }
    assert len(report.hits) == 3


@pytest.mark.parametrize("kind", ["pictures", "features"])
def test_a_damaged_object_is_no_finding(space: Space, kind: str) -> None:
    """Its bytes are nobody's, but not those of the one that went either: that it is damaged is what
    must be said."""
    traces = space.erase(IDS[7])
    state = space.manifest.buckets[0]
    path = space.folder.store.path(state.features if kind == "features" else state.bucket.pictures)
    with open(path, "ab") as file:
        file.write(b"a rest")
    with pytest.raises(VerificationError, match="is damaged"):
        space.scan(traces)


def test_the_pass_is_one_however_many_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand of ten thousand: every file is read once."""
    records = [
        record_of(f"person-{i}/picture", image=np.random.default_rng(i).bytes(64))
        for i in range(3000)
    ]
    space = Space(tmp_path / "w", records, buckets=4)
    traces = space.erase(*(record.record_id for record in records[::3]))
    opened: list[Path] = []
    from lmeraser_ray.erasure.absence import pattern_search as search

    read: Callable[[Path], int] = search.opened
    monkeypatch.setattr(search, "opened", lambda path: opened.append(path) or read(path))
    report = space.scan(traces)
    assert (report.hits, report.as_json(report.names, PLAIN)["records"]) == ((), 1000)
    assert (
        len(opened)
        == len(set(opened))
        == sum(1 for path in space.root.rglob("*") if path.is_file())
    )
