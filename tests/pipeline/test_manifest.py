"""The manifest: canonical, complete, and read back as it was written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lmeraser_ray.data.spec import PictureSpec
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.errors import LmeraserError, VerificationError
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.manifest import (
    MEMBER_STRIDE,
    BackboneCard,
    BucketState,
    Manifest,
    MemberState,
    ShardState,
)
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.digests import key_of
from lmeraser_ray.storage.store import KINDS, StoredObject
from tests.support.world import World


def item(kind: str, n: int) -> StoredObject:
    return StoredObject(kind, f"{n:064x}", f"{n + 500:064x}")  # type: ignore[arg-type]


def bucket(n: int) -> Bucket:
    """Both objects of a bucket share their key."""
    return Bucket(
        n,
        n + 1,
        item("records", n),
        StoredObject("pictures", item("records", n).key, f"{n + 900:064x}"),
    )


def stages(*numbers: int) -> tuple[StoredObject, ...]:
    return tuple(item("constituents", n) for n in numbers)


def manifest(**changes: object) -> Manifest:
    fields = {
        "identity": {"seed": 3, "learner": {"ridge": 4.0, "name": "é"}, "a": None},
        "backbone": BackboneCard(
            "ab" * 32,
            16,
            4,
            PictureSpec(16, 20, "bilinear", (0.1, 0.2, 1 / 3), (1.0, 1.0, 1.0)),
            "ef" * 32,
        ),
        "buckets": (
            BucketState(bucket(1), item("features", 11), item("assignments", 21)),
            BucketState(bucket(7), item("features", 17), None),
        ),
        "partition": item("partitions", 30),
        "shards": (
            ShardState(2, 6, stages(41), item("statistics", 51)),
            ShardState(5, 1, stages(42, 43, 44)),
        ),
    }
    return Manifest(**{**fields, **changes})  # type: ignore[arg-type]


BLEND = (
    MemberState(None, (None, None)),
    MemberState(item("partitions", 31), (item("assignments", 22), None)),
)
"""The systems of a blend behind the first."""
SHARED = (ShardState(0, 3, stages(41)), ShardState(2, 4, stages(41)))
"""Two shards of a joint learner."""
NO_CLASSIFIER = replace(manifest().backbone, classifier=None)
EMPTY = manifest(buckets=(), partition=None, shards=())


@pytest.mark.parametrize(
    "made",
    [
        manifest(),
        manifest(partition=None, shards=()),
        manifest(shards=SHARED),
        manifest(backbone=NO_CLASSIFIER),
        EMPTY,
        manifest(others=BLEND),
    ],
    ids=["stages", "no partition", "a joint constituent", "no classifier", "nothing", "a blend"],
)
def test_round_trip(made: Manifest) -> None:
    back = Manifest.from_bytes(made.to_bytes())
    assert back == made
    assert back.to_bytes() == made.to_bytes()
    assert back.fingerprint == made.fingerprint == key_of("manifest", made.to_bytes())


def test_the_bytes_are_canonical() -> None:
    """The order in which a dictionary was filled, and 4 or 4.0, are not in them."""
    made = manifest()
    turned = manifest(
        identity=dict(reversed({**made.identity, "learner": {"name": "é", "ridge": 4}}.items()))
    )
    assert turned.to_bytes() == made.to_bytes()
    assert b" " not in made.to_bytes()
    assert json.loads(made.to_bytes())["format"] == 2


def test_every_part_is_in_the_fingerprint() -> None:
    made = manifest()
    first, second = made.buckets
    others = [
        manifest(identity={**made.identity, "seed": 4}),
        manifest(backbone=replace(made.backbone, identity="cd" * 32)),
        manifest(buckets=(first,)),
        manifest(
            buckets=(BucketState(first.bucket, item("features", 99), first.assignments), second)
        ),
        manifest(
            buckets=(BucketState(first.bucket, first.features, item("assignments", 99)), second)
        ),
        manifest(buckets=(BucketState(bucket(2), first.features, first.assignments), second)),
        manifest(partition=item("partitions", 31)),
        manifest(shards=made.shards[::-1]),
        manifest(shards=made.shards[:1]),
        manifest(shards=(replace(made.shards[0], number=3), made.shards[1])),
        manifest(shards=(replace(made.shards[0], size=5), made.shards[1])),
        manifest(shards=(made.shards[0], replace(made.shards[1], stages=stages(42, 44)))),
        manifest(shards=(made.shards[0], replace(made.shards[1], stages=stages(43, 42, 44)))),
        manifest(shards=SHARED),
        manifest(backbone=NO_CLASSIFIER),
        manifest(backbone=replace(made.backbone, classifier="cd" * 32)),
    ]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_counts() -> None:
    assert (manifest().records, manifest().training_records) == (10, 7)


def test_the_last_stage_is_the_finished_constituent() -> None:
    """It is what answers; the earlier ones are where a deletion goes on from, and are kept as
    well."""
    one, sliced = manifest().shards
    assert one.constituent == item("constituents", 41)
    assert sliced.constituent == item("constituents", 44)
    assert {item("constituents", 42), item("constituents", 43)} <= set(manifest().objects())


def test_a_constituent_of_several_shards_is_one_object() -> None:
    objects = list(manifest(shards=SHARED).objects())
    assert objects.count(item("constituents", 41)) == 1
    assert manifest(shards=SHARED).training_records == 7


def test_objects_are_all_that_the_bytes_name() -> None:
    """Every digest that occurs in the JSON belongs to an object; what is left out here would be
    purged."""
    made = manifest()
    objects = list(made.objects())
    assert len(objects) == len(set(objects)) == 2 * 3 + 1 + 1 + 4 + 1
    text = made.to_bytes().decode()
    named = {word for word in text.replace('"', " ").split() if len(word) == 64} - {
        made.backbone.identity,
        made.backbone.classifier,
    }
    assert named == {part for thing in objects for part in (thing.key, thing.sha256)}


def test_objects_of_a_real_workspace_are_its_files(world: World) -> None:
    root = world.space()
    train(Session(root), world.config())
    folder = WorkspaceFolder(root)
    current = folder.current()
    assert current
    reached = {
        folder.store.path(thing) for thing in (*folder.require_published().objects(), current)
    }
    assert reached == set(folder.store.files())
    assert {path.parent.name for path in reached} == {*KINDS} - {"statistics"}
    assert (
        Path(root / "CURRENT").read_text().split("-")[0] == folder.require_published().fingerprint
    )


@pytest.mark.parametrize("version", [0, 1, 3, "2", None])
def test_an_unknown_format_is_refused(version: object) -> None:
    tree = json.loads(manifest().to_bytes())
    tree["format"] = version
    with pytest.raises(LmeraserError, match=r"format .*this version reads 2"):
        Manifest.from_bytes(json.dumps(tree).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"format":2}',
        manifest().to_bytes()[:-20],
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="cannot be read"):
        Manifest.from_bytes(data)


@pytest.mark.parametrize("name", ["identity", "backbone", "buckets", "partition", "shards"])
def test_a_missing_part_is_refused(name: str) -> None:
    tree = json.loads(manifest().to_bytes())
    del tree[name]
    with pytest.raises(VerificationError, match=name):
        Manifest.from_bytes(json.dumps(tree).encode())


def test_a_manifest_under_another_fingerprint_is_refused(world: World) -> None:
    """Its bytes are sound, but it is not what CURRENT's key says."""
    root = world.space()
    train(Session(root), world.config())
    folder = WorkspaceFolder(root)
    with folder.locked() as workspace:
        forged = workspace.store.put("manifests", "f" * 64, [manifest().to_bytes()])
    (root / "CURRENT").write_text(f"{forged.key}-{forged.sha256}\n")
    with pytest.raises(VerificationError, match="fingerprint in its name"):
        folder.published()


def test_one_system_of_a_blend_as_if_it_were_alone() -> None:
    """Its partition, assignments and shards, with the numbers that these have there."""
    mine = (ShardState(2, 6, stages(41)), ShardState(5, 1, stages(42)))
    third = (ShardState(2 * MEMBER_STRIDE, 3, stages(50)), ShardState(2 * MEMBER_STRIDE + 4, 4, ()))
    made = manifest(shards=(*mine, *third), others=BLEND)
    assert made.only(0) == manifest(shards=mine)
    assert made.only(1).shards == ()
    found = made.only(2)
    assert found.shards == (ShardState(0, 3, stages(50)), ShardState(4, 4, ()))
    assert found.partition == item("partitions", 31)
    assert [state.assignments for state in found.buckets] == [item("assignments", 22), None]
    assert [made.begin_of(member) for member in range(3)] == [0, 2, 2]
    assert made.training_records == 7
    assert {item("partitions", 31), item("assignments", 22)} <= set(made.objects())
    alone = manifest()
    assert alone.only(0) is alone
    assert b"others" not in alone.to_bytes()
