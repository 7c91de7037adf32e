"""What is fuzzed: a function for each kind of bytes that come from outside, by its name.

A target takes bytes and calls what the commands call with such bytes. It may raise `LmeraserError`
and nothing else; it must not hang, and must not take more memory than the input justifies.
"""

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, create_engine

from lmeraser_ray.cli.evidence import certificate_data, certificate_lines
from lmeraser_ray.config import DataConfig
from lmeraser_ray.config.options import load_config, read_yaml, value_of
from lmeraser_ray.config.presets.catalogue import checked
from lmeraser_ray.data.buckets import bucket_key, read_rows
from lmeraser_ray.data.feature_file import read_feature_rows, read_features
from lmeraser_ray.data.fitting import prepare_picture
from lmeraser_ray.data.ids import read_ids
from lmeraser_ray.data.index import Columns
from lmeraser_ray.data.sources.entry import SourceEntry
from lmeraser_ray.data.sources.parquet import parquet_entries, row_names
from lmeraser_ray.data.stored_bucket import Bucket
from lmeraser_ray.data.subjects import subject_resolver
from lmeraser_ray.erasure.backup.archive import CONTENTS, DIGEST, header, open_archive
from lmeraser_ray.erasure.backup.database_dump import load, rows_in
from lmeraser_ray.erasure.backup.erasure_list import ErasureList
from lmeraser_ray.erasure.backup.unpack import unpack
from lmeraser_ray.erasure.certificate.cross_checks import (
    Certificates,
    publication_differences,
    request_differences,
)
from lmeraser_ray.erasure.certificate.database_view import proofs_of, read_view
from lmeraser_ray.erasure.certificate.dsse import HEAD_TYPE, SigningKey, sha256_of, sign
from lmeraser_ray.erasure.certificate.evidence_checks import unreadable_facts
from lmeraser_ray.erasure.certificate.keystore import read_public_key
from lmeraser_ray.erasure.certificate.ledger_head import head_differences, read_head
from lmeraser_ray.erasure.certificate.standing_erasures import standing_erasures
from lmeraser_ray.erasure.certificate.verifier import (
    Certificate,
    check_certificate,
    read_certificate,
)
from lmeraser_ray.errors import LmeraserError, VerificationError
from lmeraser_ray.models.learners.constituent import Constituent
from lmeraser_ray.models.learners.statistics_file import read_statistics
from lmeraser_ray.models.partition.stage import read_clusters
from lmeraser_ray.pipeline.choice import choice_of
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.storage.database import ledger, tables
from lmeraser_ray.storage.database.pseudonyms import Pseudonymizer
from lmeraser_ray.storage.store import Kind, Store, StoredObject

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEYS = {KEY.keyid: KEY.public}
NAMES = Pseudonymizer(Path(__file__).parent, Path("/no/such/folder"))
vars(NAMES)["_secret"] = bytes(32)
SEEDS = Path(__file__).parent / "seeds"
MAX_PIXELS = 1 << 20
BLOB = "blob:"
"""Begins a cell of `ledger_rows` that is bytes in the database, in hexadecimal."""


@cache
def folder() -> Path:
    """A folder of this process, in memory where there is such a disk."""
    place = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="lmeraser-fuzz-", dir=place if place.is_dir() else None))


def file_of(data: bytes, name: str = "input") -> Path:
    """A file with these bytes."""
    path = folder() / name
    path.write_bytes(data)
    return path


@contextmanager
def stored(kind: Kind, data: bytes) -> Iterator[tuple[Store, StoredObject]]:
    """A store that holds these bytes as an object whose digest is right, as a backup would bring
    it."""
    store = Store(folder() / "objects")
    store.create()
    item = StoredObject(kind, "0" * 64, sha256_of(data))
    store.path(item).write_bytes(data)
    try:
        yield store, item
    finally:
        store.path(item).unlink()


def show(found: Certificate) -> None:
    """What the verbs print of a certificate."""
    certificate_lines(found)
    json.dumps(certificate_data(found))


def certificate(data: bytes) -> None:
    """An envelope, by `lmeraser certificate` and `lmeraser verify --certificate`."""
    try:
        show(read_certificate(data, {}))
    finally:
        show(check_certificate(data, KEYS))


def statement(data: bytes) -> None:
    """The statement in an envelope that a trusted key signed."""
    show(check_certificate(sign(data, KEY), KEYS))


def ledger_head(data: bytes) -> None:
    """A signed head, by `lmeraser audit --against`; and what is within one."""
    try:
        head = read_head(data, KEYS)
    except LmeraserError:
        head = read_head(sign(data, KEY, payload_type=HEAD_TYPE), KEYS)
    head_differences(head, "0" * 64, {1: "1" * 64})


def backup(data: bytes) -> None:
    """An archive, by `lmeraser restore`; or the table of contents of one whose digest is right."""
    if data.startswith(b"{"):
        data = retabled((SEEDS / "backup" / "backup.tar").read_bytes(), data)
    root = folder() / "unpacked"
    try:
        with open_archive(file_of(data, "backup.tar")) as archive:
            staged = unpack(archive, root)
            for state in staged.manifest.buckets:
                Columns.read(staged.store, state.bucket)
            staged.hash_at(1)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def retabled(tar: bytes, table: bytes) -> bytes:
    """An archive with another table of contents and its digest."""
    sink = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as old,
        tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for name, part in ((CONTENTS, table), (DIGEST, f"{sha256_of(table)}\n".encode())):
            new.addfile(header(name, len(part)), io.BytesIO(part))
        for member in old.getmembers()[2:]:
            new.addfile(member, old.extractfile(member))
    return sink.getvalue()


def backup_rows(data: bytes) -> None:
    """The rows of the request database in a backup."""
    with database() as connection:
        tables.metadata.create_all(connection)
        load(connection, rows_in(io.BytesIO(data)))
        audited(connection)


def ledger_rows(data: bytes) -> None:
    """Rows of the ledger, whatever somebody wrote into the database, by `lmeraser audit`."""
    try:
        rows = [json.loads(line) for line in data.splitlines()]
        cells = [[cell_of(cell) for cell in row] for row in rows]
    except (ValueError, RecursionError, TypeError):
        return
    with database() as connection:
        tables.metadata.create_all(connection)
        names = ", ".join(tables.ledger.c.keys())
        for row in cells:
            if len(row) == len(tables.ledger.c):
                try:
                    marks = ", ".join("?" * len(row))
                    connection.exec_driver_sql(
                        f"INSERT INTO ledger ({names}) VALUES ({marks})", tuple(row)
                    )
                except Exception:  # what SQLite does not take, no ledger has
                    return
        audited(connection)


def cell_of(cell: object) -> object:
    """A cell as SQLite takes it."""
    if isinstance(cell, str) and cell.startswith(BLOB):
        return bytes.fromhex(cell.removeprefix(BLOB))
    return cell


def audited(connection: Connection) -> None:
    """What `lmeraser audit` does with a database."""
    view = read_view(connection, "0" * 64, None, ledger.START)
    list(request_differences(view))
    list(publication_differences(view))
    list(unreadable_facts(view))
    compared = Certificates(view, KEYS)
    for proof in proofs_of(connection, list(view.rows.values())):
        compared.differences(proof)
    ledger.published(connection)
    standing_erasures(connection, list(ledger.entries(connection)))


def database() -> AbstractContextManager[Connection]:
    """An empty request database in memory."""
    engine = create_engine("sqlite://").execution_options(**{ledger.SEAL: ledger.Seal(NAMES)})
    return engine.begin()


def bucket(data: bytes) -> None:
    """The rows of a stored bucket."""
    with stored("records", data) as (store, item):
        rows = read_rows(store, Bucket(0, 3, item, item))
        bucket_key(0, rows)
        Columns.read(store, Bucket(0, 3, item, item)).about(np.arange(rows.num_rows))


def feature_file(data: bytes) -> None:
    """The features of a bucket: all, and some rows."""
    with stored("features", data) as (store, item):
        try:
            read_features(store, item)
        finally:
            read_feature_rows(store, item, np.array([0, 2]), np.zeros((2, 32), np.uint8))


def constituent(data: bytes) -> None:
    """A stored model, and the shapes in its header."""
    from lmeraser_ray.models.learners.parameters import read_shapes  # and torch, for seconds

    with stored("constituents", data) as (store, item):
        try:
            Constituent.from_bytes(store.read(item))
        finally:
            read_shapes(store, item)


def statistics(data: bytes) -> None:
    """A shard's statistics, with and without products of features."""
    with stored("statistics", data) as (store, item):
        try:
            read_statistics(store, item, gram=True)
        except VerificationError:
            read_statistics(store, item, gram=False)


def clusters(data: bytes) -> None:
    """Stored prototypes and the clusters of the sampled records."""
    with stored("partitions", data) as (store, item):
        read_clusters(store, item)


def manifest(data: bytes) -> None:
    """A manifest."""
    found = Manifest.from_bytes(data)
    assert found.records >= 0
    assert found.training_records >= 0
    assert found.seen >= 0
    assert all("/" not in item.key + item.sha256 for item in found.objects())
    found.to_bytes()


def configuration(data: bytes) -> None:
    """A YAML file for `--config`, for `--system`, as the value of an option, and as what a
    workspace holds."""
    path = file_of(data, "config.yaml")
    text = data.decode(errors="replace")
    for read in (
        lambda: read_yaml(path),
        lambda: load_config(path, [("learner.epochs", "3")]),
        lambda: checked("fuzzed.yaml", text),
        lambda: value_of("backbone.mean", text),
    ):
        try:
            read()
        except LmeraserError as error:
            assert len(str(error)) < 2000, len(str(error))


def picture(data: bytes) -> None:
    """An encoded picture."""
    prepare_picture(data, input_size=4, resize=4, interpolation="bilinear", max_pixels=MAX_PIXELS)


def parquet_source(data: bytes) -> None:
    """A Parquet file of records."""
    path = file_of(data, "records.parquet")
    config = DataConfig(source="parquet", path=path)
    for entry in parquet_entries([path], config=config, names=row_names([path], config)):
        if isinstance(entry, SourceEntry):
            entry.read()


def named_ids(data: bytes) -> None:
    """A file of ids."""
    read_ids(file_of(data, "ids.txt"), "--file")


def subjects(data: bytes) -> None:
    """A CSV file of subjects."""
    path = file_of(data, "subjects.csv")
    subject_resolver(DataConfig(source="folder", path=path, subjects_file=path))


def erasure_list(data: bytes) -> None:
    """The file of `lmeraser backup --erasures`, also where its digest is right."""
    ErasureList.read(file_of(data, "erasures.json"))


def choice(data: bytes) -> None:
    """The record of a sweep."""
    choice_of(file_of(data, "choice.json"))


def exported_model(data: bytes) -> None:
    """What `lmeraser export` wrote: config.json, or tensors whose digest is right."""
    from lmeraser_ray.operations.exported_model import (  # and torch, for seconds
        configuration_of,
        read_about,
        shards_of,
    )

    seeds = SEEDS / "exported_model"
    if data.startswith(b"{"):
        about, tensors = read_about(data), (seeds / "model.safetensors").read_bytes()
        try:
            configuration_of(about, None)
        finally:
            shards_of(about.model_copy(update={"sha256": sha256_of(tensors)}), tensors)
    else:
        about = read_about((seeds / "config.json").read_bytes())
        shards_of(about.model_copy(update={"sha256": sha256_of(data)}), data)


def public_key(data: bytes) -> None:
    """A PEM file of a public key."""
    read_public_key(file_of(data, "public.pem"))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        *(certificate, statement, ledger_head, ledger_rows, backup, backup_rows, erasure_list),
        *(manifest, bucket, feature_file, constituent, statistics, clusters, choice, configuration),
        *(exported_model, public_key, picture, parquet_source, named_ids, subjects),
    )
}


def attempt(target: Callable[[bytes], None], data: bytes) -> None:
    """Give a target its bytes: `LmeraserError` is an answer, anything else a finding."""
    try:
        target(data)
    except LmeraserError as error:
        said = str(error)
        assert said
        assert "\n" not in said, said
