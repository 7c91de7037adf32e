"""Write the seeds: small files of each kind, by the package's own writers where it has some.

    python -m tests.fuzzing.seeds

Files that a fuzzer found are beside them, under names that begin with `found-`; this leaves them.
"""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from PIL import Image
from safetensors.numpy import save
from sqlalchemy import select

from lmeraser_ray.data.feature_file import pack_features
from lmeraser_ray.data.sources.png import stored_png
from lmeraser_ray.erasure.backup.archive import open_archive
from lmeraser_ray.erasure.backup.database_dump import dump
from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, sign
from lmeraser_ray.erasure.certificate.keystore import KeyFolder
from lmeraser_ray.erasure.certificate.ledger_head import export_head
from lmeraser_ray.erasure.certificate.statement import statement_of
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.models.learners.statistics import Statistics
from lmeraser_ray.models.learners.statistics_file import pack_statistics
from lmeraser_ray.operations.backup import backup
from lmeraser_ray.operations.export import export
from lmeraser_ray.operations.train import train
from lmeraser_ray.operations.unlearn import unlearn
from lmeraser_ray.pipeline.choice import Choice
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.tables import ledger
from tests.fuzzing.targets import KEY, SEEDS
from tests.support.statements import STATEMENT
from tests.support.world import World

SMALL = {
    "partition": {"kind": "random", "shards": 2},
    "learner": {"kind": "class_means"},
    "aggregation": {"kind": "all"},
    "data": {"buckets": 2},
}
"""A configuration whose workspace is small."""
NOISE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def evidence() -> dict[str, bytes]:
    """Seeds of what is signed."""
    payload, digits = statement_of(STATEMENT), "ab" * 32
    head = {"format": 1, "workspace": digits, "seq": 0, "hash": digits, "at": "now"}
    return {
        "certificate/signed.json": sign(payload, KEY),
        "statement/plain.json": payload,
        "ledger_head/signed.json": export_head(digits, 7, digits, KEY),
        "ledger_head/payload.json": json.dumps(head).encode(),
        "ledger_head/other.json": sign(b"{}", KEY, payload_type=HEAD_TYPE),
        "public_key/public.pem": KEY.public.public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        ),
    }


def workspace(folder: Path) -> dict[str, bytes]:
    """Seeds of a workspace: its backup, and the parts that are parsed by themselves."""
    world = World(folder / "world", n=12)
    session, keys = Session(folder / "workspace"), KeyFolder(folder / "keys")
    train(session, world.config(**SMALL))
    keys.init()
    unlearn(session, ErasureTargets(records=(world.ids[0],)), keys=keys)
    tar, erasures = folder / "backup.tar", folder / "erasures.json"
    backup(session, to=tar, erasures=erasures)
    with open_archive(tar) as archive:
        table = archive.contents.to_bytes()
    with session.database() as database, database.read() as connection:
        rows = b"".join(dump(connection))
        entries = [json.dumps(list(row)) for row in connection.execute(select(ledger))]
    store, state = session.folder.store, session.folder.require_state().manifest
    return {
        "backup/backup.tar": tar.read_bytes(),
        "backup/contents.json": table,
        "erasure_list/erasures.json": erasures.read_bytes(),
        "backup_rows/rows.jsonl": rows,
        "ledger_rows/rows.jsonl": "\n".join(entries).encode(),
        "manifest/random.json": state.to_bytes(),
        "constituent/class-means.safetensors": store.read(state.shards[0].constituent),
        "bucket/records.parquet": store.read(state.buckets[0].bucket.records),
    }


def exported(folder: Path) -> dict[str, bytes]:
    """Seeds of an exported model that has prototypes, and cells of several shards."""
    world, session = World(folder / "others", n=12), Session(folder / "adaptive")
    partition = {"sample_size": 8, "shards": 2, "bound": 3}
    train(session, world.config(partition=partition, learner={"kind": "class_means"}))
    done = export(session, folder / "model", with_features=True)
    return {f"exported_model/{path.name}": path.read_bytes() for path in done.files[1:]}


def tensors() -> dict[str, bytes]:
    """Seeds of safetensors."""
    features = np.arange(12, dtype=np.float32).reshape(3, 4)
    clusters = {"prototypes": np.zeros((2, 4)), "sampled": np.zeros(3, np.int32)}
    return {
        "feature_file/features.safetensors": pack_features(features, np.zeros((3, 32), np.uint8)),
        "clusters/clusters.safetensors": save(clusters),
        "statistics/products.safetensors": pack_statistics(counted(gram=True)),
        "statistics/sums.safetensors": pack_statistics(counted(gram=False)),
    }


def counted(*, gram: bool) -> Statistics:
    """Statistics of three records."""
    integers = np.arange(6, dtype=np.int16).reshape(3, 2)
    return Statistics.of(integers, ("cat", "dog", "cat"), gram=gram)


def texts() -> dict[str, bytes]:
    """Seeds of what people write."""
    configs = Path(__file__).parents[2] / "configs"
    return {
        "configuration/quickstart.yaml": (configs / "quickstart.yaml").read_bytes(),
        "configuration/folder.yaml": (configs / "folder.yaml").read_bytes(),
        "configuration/anchors.yaml": b"a: &a {b: 1, c: [1.5, 2026-01-01, ~]}\nd:\n  <<: *a\n",
        "named_ids/ids.txt": "digit-0042\n\n  person/é.png \r\n".encode(),
        "subjects/subjects.csv": b'record_id,subject_id\na,ann\n"b,c",bob\n',
        "choice/choice.json": Choice(
            "test", {"partition.shards": "5"}, 0, frozenset([b"x" * 32])
        ).to_bytes(),
    }


def pictures() -> dict[str, bytes]:
    """Seeds of pictures: one of each format, and what the formats can do besides."""
    photo = Image.fromarray(NOISE)
    made = {
        "grey.png": stored_png(NOISE[:, :, 0]),
        "palette.png": encoded(photo.convert("P"), "PNG"),
        "alpha.png": encoded(photo.convert("RGBA"), "PNG"),
        "baseline.jpg": encoded(photo, "JPEG", quality=50),
        "progressive.jpg": encoded(photo, "JPEG", progressive=True, quality=50),
        "lossless.webp": encoded(photo, "WEBP", lossless=True),
        "lossy.webp": encoded(photo, "WEBP"),
        "one.gif": encoded(photo, "GIF"),
        "plain.ppm": encoded(photo, "PPM"),
        "text.ppm": b"P3 1 # a comment\n 1 255 1 2 3",
        "plain.bmp": encoded(photo, "BMP"),
        "bits.bmp": encoded(photo.convert("1"), "BMP"),
        "raw.tif": encoded(photo, "TIFF"),
        "lzw.tif": encoded(photo, "TIFF", compression="tiff_lzw"),
        "deflate.tif": encoded(photo, "TIFF", compression="tiff_adobe_deflate"),
        "fax.tif": encoded(photo.convert("1"), "TIFF", compression="group4"),
        "jpeg.tif": encoded(photo, "TIFF", compression="jpeg"),
    }
    return {f"picture/{name}": data for name, data in made.items()}


def encoded(photo: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as a file."""
    sink = io.BytesIO()
    photo.save(sink, kind, **options)
    return sink.getvalue()


def sources() -> dict[str, bytes]:
    """Seeds of Parquet files of records."""
    image = stored_png(np.zeros((1, 1), np.uint8))
    columns = {"record_id": ["a", "b"], "label": [0, 1], "image": [image, image]}
    hugging = {**columns, "image": [{"bytes": image, "path": None}] * 2}
    return {
        "parquet_source/plain.parquet": parquet(columns),
        "parquet_source/structs.parquet": parquet(hugging, compression="zstd"),
    }


def parquet(columns: dict[str, object], **options: object) -> bytes:
    """A table as a file."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, store_schema=False, **options)
    return sink.getvalue().to_pybytes()


def main() -> None:
    """Write them all."""
    with tempfile.TemporaryDirectory() as name:
        made = {**evidence(), **workspace(Path(name)), **exported(Path(name))}
    made |= {**tensors(), **texts(), **pictures()}
    for place, data in {**made, **sources()}.items():
        (SEEDS / place).parent.mkdir(parents=True, exist_ok=True)
        (SEEDS / place).write_bytes(data)


if __name__ == "__main__":
    main()
