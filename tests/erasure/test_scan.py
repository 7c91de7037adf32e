"""The absence scan: whatever is planted is found, whatever is somebody else's is explained, and
nothing is said of whose it was."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update

from lmeraser_ray.data.buckets import put_bucket, rows_of
from lmeraser_ray.data.feature_file import pack_features
from lmeraser_ray.data.record import Record
from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.erasure.absence.database_search import occurrences, search_journal
from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY, FOREIGN
from lmeraser_ray.erasure.absence.patterns import PatternSet
from lmeraser_ray.erasure.absence.report import ScanReport, ScanReporter
from lmeraser_ray.erasure.absence.scan import left_in_database, scan
from lmeraser_ray.erasure.absence.traces import Traces
from lmeraser_ray.erasure.queue.affected_constituents import PublishedState
from lmeraser_ray.erasure.queue.trace_gathering import gather_traces
from lmeraser_ray.erasure.requests.repository import RequestRepository
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.erasure.requests.transitions import ErasedRecord, plan, wipe_names
from lmeraser_ray.errors import VerificationError
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.features import features_key
from lmeraser_ray.pipeline.manifest import BackboneCard, BucketState, Manifest
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import LockedWorkspace, WorkspaceFolder
from lmeraser_ray.storage.database.database import Database
from lmeraser_ray.storage.database.tables import requests
from lmeraser_ray.storage.store import StoredObject
from tests.support.world import World

CARD = BackboneCard(
    "ab" * 32, 24, 4, PictureSpec(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
)


class Space:
    """A workspace of records, made without training: buckets and features, published. Erasing is
    publishing without."""

    def __init__(self, root: Path, records: Sequence[Record], *, buckets: int = 2) -> None:
        self.root, self.buckets = root, buckets
        self.folder = WorkspaceFolder(root)
        self.folder.create()
        self.publish(records)

    def publish(self, records: Sequence[Record]) -> None:
        """Publish exactly these records, and purge."""
        with self.folder.locked() as workspace:
            self._publish(workspace, records)

    def _publish(self, workspace: LockedWorkspace, records: Sequence[Record]) -> None:
        store, states = workspace.store, []
        self.records = sorted(records, key=lambda r: r.record_id.encode())
        for number in range(self.buckets):
            mine = [r for i, r in enumerate(self.records) if hash_of(r) % self.buckets == number]
            if not mine:
                continue
            bucket = put_bucket(
                store, store.listing(), number, rows_of(mine), [r.image for r in mine]
            )
            digests = np.frombuffer(b"".join(r.digest() for r in mine), np.uint8).reshape(-1, 32)
            features = np.stack([feature_of(r.image) for r in mine])
            item = store.put(
                "features", features_key(CARD.identity, digests), [pack_features(features, digests)]
            )
            states.append(BucketState(bucket, item, None))
        self.manifest = Manifest({}, CARD, tuple(states), None, ())
        item = workspace.put_manifest(self.manifest)
        workspace.write_pointer(item)
        store.purge([item, *self.manifest.objects()])

    def erase(self, *ids: str) -> list[Traces]:
        """Publish without these records. Returns what to look for."""
        gone = [r for r in self.records if r.record_id in ids]
        self.publish([r for r in self.records if r.record_id not in ids])
        return [traces_for(r) for r in gone]

    def forge(self, number: int, **data: bytes) -> None:
        """Have a bucket's objects hold other bytes, under the names that these have: what a wrong
        implementation would publish."""
        with self.folder.locked() as workspace:
            self._forge(workspace, number, **data)

    def _forge(self, workspace: LockedWorkspace, number: int, **data: bytes) -> None:
        states, store = list(self.manifest.buckets), workspace.store
        for kind, content in data.items():
            state = states[number]
            old = state.features if kind == "features" else state.bucket.pictures
            new = store.put(old.kind, old.key, [content])
            bucket = replace(state.bucket, pictures=new) if kind == "pictures" else state.bucket
            states[number] = replace(
                state, bucket=bucket, features=new if kind == "features" else state.features
            )
        self.manifest = replace(self.manifest, buckets=tuple(states))
        item = workspace.put_manifest(self.manifest)
        workspace.write_pointer(item)
        store.purge([item, *self.manifest.objects()])

    def scan(self, traces: Sequence[Traces], **options: object) -> ScanReport:
        """Scan, as the holder of the lock."""
        with self.folder.locked() as workspace:
            return scan(workspace, self.manifest, traces, **options)  # type: ignore[arg-type]


def hash_of(record: Record) -> int:
    return sum(record.record_id.encode())


def feature_of(image: bytes) -> np.ndarray:
    """A function of the picture, so that equal pictures have equal features."""
    return np.random.default_rng(list(image[:64])).normal(size=CARD.dimension).astype(np.float32)


def pixels_of(image: bytes) -> bytes:
    return np.random.default_rng(list(image[-64:])).bytes(3 * 16 * 16)


def traces_for(record: Record, subject: str | None = None) -> Traces:
    about = {
        "picture": record.image,
        "feature": feature_of(record.image).tobytes(),
        "pixels": pixels_of(record.image),
    }
    return Traces.of(record.record_id, record.digest(), subject_id=subject, **about)


def record_of(
    name: str, *, subject: str | None = None, label: str = "a label", image: bytes | None = None
) -> Record:
    picture = np.random.default_rng(list(name.encode())).bytes(300) if image is None else image
    return Record(name, subject or name.partition("/")[0], label, False, picture)


def hits_of(report: ScanReport) -> set[tuple[str, str]]:
    return {(hit.place, hit.trace) for hit in report.hits}


IDS = [f"person-{i // 2}/picture-{i}" for i in range(16)]
GONE = record_of(IDS[7])


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path / "workspace", [record_of(name) for name in IDS])


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
    assert set(searched) == {p.name for p in DATA_INVENTORY if p.base == "workspace"} - {"scratch"}
    assert all(
        one.files and (one.bytes or one.place == "lock and pin files") for one in after.searched
    )
    said = json.dumps(after.as_json())
    assert not any(name in said for name in (*world.ids, *world.subjects, str(root)))
    assert {one["place"] for one in after.as_json()["not_searched"]} == {
        p.name for p in DATA_INVENTORY
    } - set(searched)


TRACES: dict[str, bytes] = {
    "id": GONE.record_id.encode(),
    "subject": b"person-3",
    "digest": GONE.digest(),
    "hexadecimal digest": GONE.digest().hex().encode(),
    "picture": GONE.image,
    "pixels": pixels_of(GONE.image),
    "feature": feature_of(GONE.image).tobytes(),
}
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
    assert "person-3" not in json.dumps(report.as_json())
    assert (
        report.as_json()["found"] == len(report.hits) == 4
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


def short_ids() -> Iterator[tuple[str, list[Record]]]:
    """An id to erase, and records whose ids, labels and subjects it is a part of."""
    yield (
        "1",
        [
            record_of(name, label=label)
            for name, label in (("1", "1"), ("2", "1"), ("11", "21"), ("21", "2"))
        ],
    )
    yield (
        "digit-0042",
        [record_of(name) for name in ("digit-0042", "digit-00421", "digit-0043", "z/digit-0042")],
    )
    yield (
        "person-1/x",
        [
            record_of(name, label="person-1/x")
            for name in ("person-1/x", "person-1/y", "person-12/x")
        ],
    )
    yield (
        "123456789012",
        [record_of(name) for name in ("123456789012", "51234567890123", "1234567890121")],
    )
    yield 'quo"te-ä', [record_of(name, label='a quo"te-äther') for name in ('quo"te-ä', "other")]
    yield "cat", [record_of(name, label="cat") for name in ("cat", "cat-1", "dog")]


@pytest.mark.parametrize("case", list(short_ids()), ids=lambda case: case[0])
def test_an_id_that_is_a_part_of_another_blocks_nothing(
    case: tuple[str, list[Record]], tmp_path: Path
) -> None:
    """And the rows still say whether it is there."""
    name, records = case
    space = Space(tmp_path / "w", records)
    traces = [traces_for(records[0])]
    (space.root / "configuration.json").write_text(
        json.dumps({"label": records[-1].label, "shards": 1, "cat": 42})
    )
    assert ("records", "row of an erased record") in hits_of(space.scan(traces))
    traces = [replace(each, subject_id=None) for each in space.erase(name)]
    assert space.scan(traces).hits == ()
    assert space.scan(traces).in_rows_only == (name in ("1", "cat"))
    (space.root / "configuration.json").write_text(json.dumps({"path": f"/data/{name}/x"}))
    told = ("configuration.json", "id") in hits_of(space.scan(traces))
    assert told == (name in ("digit-0042", "123456789012", 'quo"te-ä'))


@pytest.mark.parametrize(
    ("name", "part"),
    [("1234567890", "91234567890"), ("1234567890", "1234567890a"), ("margaret", "margarets")],
)
def test_a_part_of_a_number_or_a_word_is_no_id(name: str, part: str, tmp_path: Path) -> None:
    space = Space(tmp_path / "w", [record_of(name), record_of("other")])
    traces = space.erase(name)
    for text, found in (
        (f"a {part} b", False),
        (f"a {name} b", True),
        (f"/{name}.png", True),
        (name, True),
    ):
        (space.root / "configuration.json").write_text(text)
        assert (space.scan(traces).hits != ()) == found


def test_a_longer_name_that_another_open_request_names_is_that_requests(space: Space) -> None:
    traces = space.erase(IDS[1])  # person-0/picture-1
    (space.root / "configuration.json").write_text("person-0/picture-177")
    assert hits_of(space.scan(traces)) == {("configuration.json", "id")}
    assert space.scan(traces, open_names=["person-0/picture-177", IDS[1]]).hits == ()


class Kept:
    """A workspace's request database, with one request that erases a record and is published."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.database = Database.open(space.root, None)
        self.requests = RequestRepository(self.database, space.folder.names())
        self.traces = space.erase(IDS[7])
        self.request = self.requests.submit([IDS[7]], [])
        with self.database.write() as conn:
            hashed = space.folder.names().hash("record", IDS[7])
            plan(
                conn, self.request.id, [ErasedRecord(hashed, IDS[7], self.traces[0].to_bytes())], {}
            )
            conn.execute(update(requests).values(state="PUBLISHED"))

    def hits(self) -> set[tuple[str, str]]:
        return hits_of(self.space.scan(self.traces, database=self.database))

    def left(self) -> set[str]:
        return {
            hit.trace for hit in left_in_database(self.space.folder, self.database, self.traces)
        }


@pytest.fixture
def kept(space: Space) -> Iterator[Kept]:
    made = Kept(space)
    yield made
    made.database.close()


def test_what_an_open_request_names_is_at_home(kept: Kept) -> None:
    """Its own names and traces, and those of a later one, until they are wiped; then nothing may
    be left."""
    report = kept.space.scan(kept.traces, database=kept.database)
    assert report.hits == ()
    assert report.explained == 6  # the id twice, the digest and three windows
    assert kept.space.scan(kept.traces).hits == ()  # the scan opens the database itself
    assert kept.left() == set()
    later = kept.requests.submit([IDS[7]], [])
    assert kept.hits() == set()
    with kept.database.write() as conn:
        wipe_names(conn, [kept.request.id, later.id])
    report = kept.space.scan(kept.traces, database=kept.database)
    assert (report.hits, report.explained) == ((), 0)


DATABASE = "the request database"


def test_what_a_finished_request_still_names_is_found(kept: Kept) -> None:
    """Whatever the id: also one that no search of bytes could tell."""
    with kept.database.write() as conn:
        conn.execute(update(requests).values(state="CERTIFIED"))
    found = {
        f"{column} of a request that is worked off"
        for column in ("targets.name", "erased.name", "erased.needles")
    }
    assert kept.hits() == {(DATABASE, trace) for trace in found}
    assert kept.left() == found


@pytest.mark.parametrize("trace", ["id", "digest", "hexadecimal digest", "picture", "feature"])
def test_a_row_that_should_not_have_it_is_found(kept: Kept, trace: str) -> None:
    """In the reason of a failure, in a frozen statement: anywhere but where open requests have
    it."""
    value = TRACES[trace]
    with kept.database.write() as conn:
        where = (
            {"statement": b"{" + value + b"}"}
            if trace not in ("id", "hexadecimal digest")
            else {"reason": f"it was {value.decode()}."}
        )
        conn.execute(update(requests).values(**where))
    assert kept.hits() == {(DATABASE, trace)}


def test_what_a_deleted_row_left_in_a_page_is_found(kept: Kept, space: Space) -> None:
    """As it would be without `secure_delete`."""
    kept.database.close()
    with sqlite3.connect(space.root / "requests.db") as raw:
        raw.execute("PRAGMA secure_delete=OFF")
        raw.execute("CREATE TABLE other(name TEXT)")
        raw.execute("INSERT INTO other VALUES (?)", (IDS[7],))
        raw.commit()
        raw.execute("DELETE FROM other")
        raw.commit()
    raw.close()
    kept.database = Database.open(space.root, None)
    assert kept.hits() == {(DATABASE, "id")}
    with kept.database.write() as conn:
        wipe_names(conn, [kept.request.id])
    assert kept.left() == {"id"}


def test_the_journal_may_have_what_the_database_has(kept: Kept, tmp_path: Path) -> None:
    patterns, journal = PatternSet(kept.traces, []), tmp_path / "requests.db-journal"
    for text, named, expected in (
        (IDS[7].encode(), b"", {"id"}),
        (IDS[7].encode(), IDS[7].encode(), set()),
        (TRACES["picture"], IDS[7].encode(), {"picture"}),
        (b"nothing", b"", set()),
    ):
        journal.write_bytes(b"x" * 777 + text)
        report = ScanReporter()
        search_journal(journal, occurrences(patterns, [named]), patterns, report)
        assert {hit.trace for hit in report.hits} == expected


def test_the_rows_of_postgresql_are_searched(space: Space, postgresql: str) -> None:
    database = Database.open(space.root, postgresql)
    traces = space.erase(IDS[7])
    names = RequestRepository(database, space.folder.names())
    made = names.submit([IDS[7], IDS[8]], [])
    with database.write() as conn:
        hashed = space.folder.names().hash("record", IDS[7])
        plan(conn, made.id, [ErasedRecord(hashed, IDS[7], traces[0].to_bytes())], {})
    assert space.scan(traces, database=database).hits == ()
    with database.write() as conn:
        conn.execute(
            update(requests).values(statement=b"12345" + TRACES["picture"], reason=f"{IDS[7]} went")
        )
    assert hits_of(space.scan(traces, database=database)) == {
        (DATABASE, "picture"),
        (DATABASE, "id"),
    }
    with database.write() as conn:
        conn.execute(update(requests).values(statement=None, reason=None, state="CERTIFIED"))
    assert len(space.scan(traces, database=database).hits) == 3
    database.close()


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
    assert (report.hits, report.records) == ((), 1000)
    assert (
        len(opened)
        == len(set(opened))
        == sum(1 for path in space.root.rglob("*") if path.is_file())
    )
