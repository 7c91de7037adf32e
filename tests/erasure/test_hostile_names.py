"""Whoever's id, picture or reason says what our own files say blocks nobody; what can not go holds
back its owner only, and an operator may have it certified with the finding named."""

import getpass
import io
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from sqlalchemy.schema import CreateTable

from lmeraser_ray.erasure.absence.skeletons import skeletons
from lmeraser_ray.erasure.absence.traces import window_of
from lmeraser_ray.erasure.certificate.statement import read_statement
from lmeraser_ray.erasure.requests.request import State
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import ConfigError, HeldBackError
from lmeraser_ray.operations.requests import certify, repository, status
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tables import metadata
from lmeraser_ray.storage.times import utcnow
from tests.support.held_queue import Held, Place, place_of
from tests.support.world import World

SCHEMA = "\n".join(str(CreateTable(table)) for table in metadata.sorted_tables)
TODAY = f"{utcnow():%Y-%m-%d}"
WORDS = (
    *("requests", "manifests", "publication", "record_id", "subject_id", "RECEIVED", "PUBLISHED"),
    *("CERTIFIED", "targets", "tombstones", "constituents", "partition", "configuration"),
    *("requests.db", "heartbeat_at", "sqlite_autoindex_requests_1", "SQLite format 3", "ledger"),
    *("record7", "record1", "subject3", "open2026", "__metadata__", "data_offsets", "prototypes"),
    *("parquet-cpp-arrow", "nearest_prototype", "prompt_head", "adaptive", TODAY, TODAY[:7]),
    *(f"er-{TODAY.replace('-', '')}", platform.node(), "assignments", "objects/records"),
    *(f"{TODAY}T", "schema", "urn:lmeraser-ray:erasure", "hmac-sha256", "[name]"),
)


def with_text(picture: bytes, text: str) -> bytes:
    """A PNG that quotes a text."""
    said, sink = PngImagePlugin.PngInfo(), io.BytesIO()
    said.add_text("Comment", text)
    Image.open(io.BytesIO(picture)).save(sink, "PNG", pnginfo=said)
    return sink.getvalue()


def renamed(world: World, ids: Sequence[str], subjects: Sequence[str]) -> None:
    """Give the first records of a world other names."""
    world.ids[: len(ids)], world.subjects[: len(subjects)] = ids, subjects
    table = pq.read_table(world.path)
    columns = {"record_id": world.ids, "subject_id": world.subjects, "image": world.images}
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(table, world.path)


@pytest.fixture
def hostile(tmp_path: Path) -> World:
    """A world in which everybody is called as something of ours, and one picture quotes the
    database's schema."""
    world = World(tmp_path / "world")
    assert len(WORDS) <= len(world.ids)
    world.images[0] = with_text(world.images[0], SCHEMA)
    renamed(world, WORDS, [f"{word}" for word in reversed(WORDS)])
    return world


def test_words_of_ours_are_erased_as_any_id(hostile: World) -> None:
    place = place_of(hostile)
    place.held.waits = Held.release
    ids = [place.submit(word) for word in WORDS]
    place.run()
    assert place.states() == dict.fromkeys(ids, State.CERTIFIED)
    place.expect(WORDS)


def test_a_submitter_and_a_reason_that_name_the_person_block_nobody(world: World) -> None:
    me, short = getpass.getuser(), "Bob"
    renamed(world, [f"{short}/1"], [short, me])
    place = place_of(world)
    place.held.waits = Held.release
    with repository(place.session) as requests:
        first = requests.submit([], [short], submitter=short)
        other = requests.submit([world.ids[4]], [], submitter=me)
        mine = requests.submit([], [me])
        requests.refuse(other.id, f"{short}'s lawyer called {me}; bob waits")
        requests.extend(mine.id, 1, f"as for {short}")
    place.run()
    with repository(place.session) as requests:
        assert requests.get(first.id).state is requests.get(mine.id).state is State.CERTIFIED
        assert requests.get(other.id).reason == "[name]'s lawyer called [name]; [name] waits"
        assert requests.get(mine.id).extension_reason == "as for [name]"
        later = requests.submit([world.ids[5]], [])
        assert requests.cancel(later.id, "BOB said so").reason == "[name] said so"


def leak(place: Place, name: str) -> Path:
    """Have the workspace's configuration say a name, in a path that somebody typed."""
    path = Path(place.session.root) / "configuration.json"
    said = json.loads(path.read_text())
    said["data"]["test_path"] = f"/scans/{name}/tests"
    path.write_text(json.dumps(said))
    return path


def test_a_trace_holds_back_its_owner_only(world: World) -> None:
    """Others are certified in the same round and later, also by `unlearn`."""
    place = place_of(world)
    place.held.waits = Held.release
    held, free = world.ids[1], world.ids[8]
    owner, other = place.submit(held), place.submit(free)
    path = leak(place, held)
    with pytest.raises(HeldBackError, match=f"{owner}: .* id of an erased record in configuration"):
        place.run()
    assert place.states() == {owner: State.PUBLISHED, other: State.CERTIFIED}
    found = status(place.session, owner)
    assert [each["trace"] for each in found.as_json()["findings"]] == ["id"]  # type: ignore[union-attr]
    assert held not in str(found.as_json()) and "configuration.json" in str(found.reason)
    done = unlearn(Session(place.session.root), ErasureTargets(records=(world.ids[12],)))
    assert done.request.state is State.CERTIFIED
    path.write_text(path.read_text().replace(held, "all"))
    place.run()
    assert set(place.states().values()) == {State.CERTIFIED}
    assert status(place.session, owner).findings is None
    place.expect([held, free, world.ids[12]])


def test_an_operator_certifies_with_the_finding_named(world: World) -> None:
    """Only what was found, by name; what is found later holds the request back again."""
    place = place_of(world)
    place.held.waits = Held.release
    held = world.ids[1]
    owner = place.submit(held)
    with pytest.raises(ConfigError, match="is RECEIVED, and no finding"):
        certify(place.session, owner, "no")
    leak(place, held)
    with pytest.raises(HeldBackError):
        place.run()
    certify(place.session, owner, "the path is older than the person's wish")
    (Path(place.session.root) / "CURRENT.next").write_text(held)
    with pytest.raises(HeldBackError, match="in the pointer"):
        place.run()
    (Path(place.session.root) / "CURRENT.next").unlink()
    place.run()
    statement = read_statement(status(place.session, owner).statement or b"")
    [exception] = statement.exceptions
    assert (exception.place, exception.trace, exception.file) == (
        *("configuration.json", "id", "configuration.json"),
    )
    said = place.session.names().hash("reason", "the path is older than the person's wish")
    assert exception.reason == said and statement.scan["found"] == 1
    assert held not in str(statement)


def test_the_same_person_twice_at_once_is_certified_twice(world: World) -> None:
    """Another client's request arrives while the first one's names are being wiped."""
    place = place_of(world)
    place.held.waits = Held.release
    first = place.submit(world.ids[1])
    later: list[str] = []
    from lmeraser_ray.erasure.queue import proof

    before = proof.scan

    def scan_and_submit(*args: object, **options: object) -> object:
        found = before(*args, **options)  # type: ignore[arg-type]
        later.append(place.submit(world.ids[1]))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proof, "scan", scan_and_submit)
        with place.queue() as queue:
            queue.round(patient=False, stop=lambda: False)
    assert later
    place.run()
    assert set(place.states().values()) == {State.CERTIFIED}
    assert first in place.states()


def test_a_person_whose_records_were_named_one_by_one_is_not_unknown(world: World) -> None:
    place = place_of(world)
    place.held.waits = Held.release
    place.submit(*world.ids[2:4])
    place.run()
    with repository(place.session) as requests:
        again = requests.submit([], [world.subjects[2]])
    place.run()
    found = status(place.session, again.id)
    assert (found.state, found.targets[0].outcome) == (State.CERTIFIED, "already")


def test_a_failed_request_whose_records_left_is_proven_again(world: World) -> None:
    """What an earlier release gave up after the purge: its names are wiped, and it is not told that
    it was never here."""
    place = place_of(world)
    place.held.waits = Held.release
    owner = place.submit(world.ids[1])
    place.run()
    with place.session.database() as database, database.write() as conn:
        conn.exec_driver_sql(
            "UPDATE requests SET state = 'FAILED', statement = NULL, envelope = NULL"
        )
    with repository(place.session) as requests:
        assert requests.retry(owner).state is State.PUBLISHED
    with place.queue() as queue:
        queue.keys = None
        queue.round(patient=True, stop=lambda: False)
    assert place.states() == {owner: State.PURGED}


def test_a_window_is_no_text_and_nothing_of_ours() -> None:
    noise = bytes(range(128, 256)) * 2
    quoting = SCHEMA.encode() + noise[:100] + SCHEMA.encode()
    assert (window_of(quoting, least_binary=4) or b"") in quoting
    assert len((window_of(quoting, least_binary=4) or b"").translate(None, SCHEMA.encode())) >= 4
    assert window_of(SCHEMA.encode(), least_binary=4) is None
    assert window_of(skeletons()[4:400]) is None
