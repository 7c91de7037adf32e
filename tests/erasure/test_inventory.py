"""The data inventory is complete: each module that writes to a disk or a database writes to places
of the inventory, which `WRITERS` names, and each module that is named writes."""

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lmeraser_ray.erasure.absence.inventory import DATA_INVENTORY, place_of
from lmeraser_ray.operations.train import train
from lmeraser_ray.pipeline.manifest import Manifest
from lmeraser_ray.pipeline.workspace_entries import OWN_FILES
from lmeraser_ray.pipeline.workspace_folder import WorkspaceFolder
from lmeraser_ray.storage.store import KINDS, StoredObject
from tests.support.world import Recorder, World

PACKAGE = Path(__file__).parents[2] / "lmeraser_ray"
THE_STORE = (
    "storage/store.py",
    "storage/files.py",
    "storage/local_disk.py",
    "storage/object_storage/path.py",
    "operations/restore.py",
)
"""Every object gets its name by these, whoever makes it."""
WRITERS: dict[str, tuple[str, ...]] = {
    "records": ("data/buckets.py", "operations/verify.py", *THE_STORE),
    "pictures": ("data/buckets.py", "operations/verify.py", *THE_STORE),
    "features": ("pipeline/features.py", *THE_STORE),
    "partitions": (
        "models/partition/stage.py",
        "models/partition/public.py",
        "operations/verify.py",
        *THE_STORE,
    ),
    "assignments": ("models/partition/stage.py", *THE_STORE),
    "statistics": ("pipeline/subtraction.py", *THE_STORE),
    "constituents": (
        "pipeline/jobs.py",
        "pipeline/subtraction.py",
        "study/unlearners.py",
        *THE_STORE,
    ),
    "manifests": ("pipeline/workspace_folder.py", "erasure/queue/publisher.py", *THE_STORE),
    "scratch": (
        "data/ingest.py",
        "distributed/worker.py",
        "study/attack.py",
        "operations/backup.py",
        "erasure/backup/unpack.py",
        "operations/verify.py",
        *THE_STORE,
    ),
    "the pointer": ("pipeline/workspace_folder.py",),
    "configuration.json": ("pipeline/workspace_folder.py", "storage/files.py"),
    "the secret": (
        "storage/database/secret_place.py",
        "storage/database/secret_change.py",
        "storage/files.py",
        "operations/restore.py",
    ),
    "the request database": (
        "storage/database/database.py",
        "erasure/backup/database_dump.py",
        "storage/database/sqlite.py",
        "storage/database/tombstones.py",
        "storage/database/secret_versions.py",
        "storage/database/upgrade.py",
        "erasure/requests/retention.py",
        "operations/train.py",
        "erasure/queue/lease.py",
        "storage/database/ledger.py",
        "pipeline/publication.py",
        "erasure/queue/publisher.py",
        "erasure/backup/reconcile.py",
        "erasure/requests/repository.py",
        "erasure/requests/submission.py",
        "erasure/requests/transitions.py",
        "erasure/requests/reasons.py",
        "operations/tokens.py",
        "storage/database/upgrade.py",
        "operations/train.py",
    ),
    "lock and pin files": (
        "pipeline/workspace_folder.py",
        "storage/database/database_location.py",
        "storage/files.py",
        "storage/file_lock.py",
        "storage/database/workspace_lock.py",
    ),
    "Ray's session folder": ("distributed/engine.py", "distributed/features.py"),
    "memory of processes": (
        "distributed/actor_handle.py",
        "distributed/claims.py",
        "distributed/cluster.py",
        "distributed/engine.py",
        "distributed/features.py",
        "distributed/queue_actor.py",
        "distributed/serving.py",
        "distributed/sweep.py",
        "data/sources/held_pictures.py",
        "erasure/absence/database_search.py",
    ),
    "studies": (
        "study/study_folder.py",
        "study/sweep_records.py",
        "study/attack.py",
        "study/unlearners.py",
        "storage/whole_file.py",
    ),
    "figures": (
        "study/figures.py",
        "study/figure/style.py",
        "operations/inspection.py",
        "cli/inspect.py",
        "cli/quality_tables.py",
        "cli/prediction_rows.py",
        "storage/whole_file.py",
    ),
    "reports and exported models": (
        "operations/workspace_report.py",
        "operations/reporting/drawings.py",
        "operations/export.py",
        "storage/whole_file.py",
    ),
    "demonstration": ("cli/demo.py", "storage/whole_file.py"),
    "downloads": ("data/sources/torchvision.py",),
    "certificates, keys and heads": (
        "erasure/certificate/keystore.py",
        "erasure/certificate/ledger_head.py",
        "cli/evidence.py",
        "operations/certificate.py",
        "storage/files.py",
        "storage/whole_file.py",
    ),
    "backups": (
        "operations/backup.py",
        "erasure/backup/archive.py",
        "erasure/backup/erasure_list.py",
        "storage/whole_file.py",
    ),
    "what object storage keeps besides a workspace's objects": ("storage/object_storage/path.py",),
    "the terminal": (
        "cli/main.py",
        "cli/table.py",
        "pipeline/progress.py",
        "pipeline/outlet.py",
        "pipeline/waiting.py",
        "operations/interruption.py",
        "cli/demo.py",
        "operations/stop_signal.py",
        "cli/live_table.py",
    ),
}
"""The modules that write to each place, by the place's name."""

FUNCTIONS = frozenset(
    [
        "write_atomic", "write_whole", "whole_file", "write_temporary", "move_into_place",
        "create_once", "replace_pointer",
        "save_file", "urlretrieve", "load_state_dict_from_url", "hf_hub_download",
        "snapshot_download", "mkdtemp", "mkstemp", "TemporaryDirectory", "NamedTemporaryFile",
        "TemporaryFile", "SpooledTemporaryFile", "FileHandler", "RotatingFileHandler", "memmap",
        "print",
    ]
)  # fmt: skip
"""Names of functions that write, whatever they are an attribute of."""
METHODS = FUNCTIONS | frozenset(
    [
        "write_text", "write_bytes", "touch", "symlink_to", "hardlink_to", "rename", "tofile",
        "savefig", "save", "savez", "savez_compressed", "savetxt", "to_csv", "to_parquet",
        "to_json", "to_pickle", "to_feather", "to_sql", "write_table", "write_csv",
        "write_dataset", "write_feather", "ParquetWriter", "OSFile", "extractall",
        "make_archive", "from_items", "remote",
    ]
)  # fmt: skip
DOTTED = frozenset(
    [
        "os.replace", "os.rename", "os.link", "os.symlink", "os.write", "os.pwrite",
        "os.writev", "os.sendfile", "json.dump", "pickle.dump", "shutil.copy", "shutil.copy2",
        "shutil.copyfile", "shutil.copyfileobj", "shutil.copytree", "shutil.move",
        "msgpack.pack", "sqlite3.connect", "psycopg.connect", "mmap.mmap",
    ]
)  # fmt: skip
DUMPS = ("yaml.dump", "yaml.safe_dump")
"""Give text back, unless they are told where to write it."""
DATABASE_LIBRARIES = ("sqlalchemy", "sqlite3", "psycopg")
STATEMENTS = frozenset(["insert", "update", "delete", "create_all"])
WRITING_SQL = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "ALTER", "DROP", "VACUUM")
OPENERS = ("io", "gzip", "bz2", "lzma", "tarfile", "codecs", "builtins")
WRITING_FLAGS = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_APPEND", "O_TRUNC")


def dotted(node: ast.expr) -> str:
    """`a.b.c` of a name or an attribute, with `?` for what is neither."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def mode_of(call: ast.Call, at: int) -> str:
    """The mode of an `open`: what stands there, `w` where that is not to be told, `r` where nothing
    stands there."""
    given = [k.value for k in call.keywords if k.arg == "mode"] + call.args[at : at + 1]
    if not given:
        return "r"
    return (
        given[0].value
        if isinstance(given[0], ast.Constant) and isinstance(given[0].value, str)
        else "w"
    )


def opens_to_write(call: ast.Call, name: str, last: str) -> bool:
    if name == "os.open" or last == "open_regular":
        nowhere = call.args and dotted(call.args[0]) == "os.devnull"
        return not nowhere and any(flag in ast.dump(call) for flag in WRITING_FLAGS)
    if last not in ("open", "fdopen", "ZipFile", "BZ2File", "GzipFile", "LZMAFile"):
        return False
    if (
        last == "open"
        and isinstance(call.func, ast.Attribute)
        and dotted(call.func.value) not in OPENERS
    ):
        constant = call.args and isinstance(call.args[0], ast.Constant)
        if dotted(call.func.value).rpartition(".")[2][:1].isupper() and not constant:
            return False  # a class's: `Image.open(file)`, `Database.open(root)`
        return any(c in mode_of(call, 0) for c in "wax+")  # `path.open("w")`
    return any(c in mode_of(call, 1) for c in "wax+")


def writes_rows(call: ast.Call, name: str, last: str) -> bool:
    """A statement of SQLAlchemy or one in SQL that changes something; `known.update(more)` is a
    dictionary's."""
    texts = [
        node.value
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    said = last in ("execute", "exec_driver_sql", "executemany", "executescript", "text")
    of_a_table = name in (last, f"sqlalchemy.{last}", f"sa.{last}") or not call.args
    return (last in STATEMENTS and (of_a_table or last == "create_all")) or (
        said and any(text.lstrip().upper().startswith(WRITING_SQL) for text in texts)
    )


def puts(call: ast.Call, last: str) -> bool:
    """`Store.put(kind, key, chunks)`, `ray.put(x)`; the two arguments of another `put` are a
    scheduler's."""
    return (last == "put" and len(call.args) != 2) or (last.startswith("put_") and last != "put_")


def writing_calls(source: str) -> Iterator[ast.Call]:
    """The calls in a module that write to a disk, to a database, or to memory that others read."""
    tree = ast.parse(source)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    rows = any(name.split(".")[0] in DATABASE_LIBRARIES for name in imported)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        last = name.rpartition(".")[2]
        method = isinstance(call.func, ast.Attribute)
        if (
            name in DOTTED
            or (
                name in DUMPS
                and (
                    len(call.args) > 1 or any(keyword.arg == "stream" for keyword in call.keywords)
                )
            )
            or last in (METHODS if method else FUNCTIONS)
            or puts(call, last)
            or opens_to_write(call, name, last)
            or (rows and writes_rows(call, name, last))
            or any(keyword.arg == "download" for keyword in call.keywords)
        ):
            yield call


@cache
def writes(source: str) -> bool:
    """Whether a module writes."""
    return next(writing_calls(source), None) is not None


def writers(package: Path) -> set[str]:
    """The modules that write."""
    return {
        str(path.relative_to(package)) for path in package.rglob("*.py") if writes(path.read_text())
    }


REGISTERED = {writer for found in WRITERS.values() for writer in found}


def test_every_module_that_writes_is_registered_and_writes() -> None:
    found = writers(PACKAGE)
    assert found - REGISTERED == set(), (
        "writes where no place says so: describe the place in erasure/absence/inventory.py, with "
        "how its contents go, and name the module here"
    )
    assert REGISTERED - found == set(), "is named here and writes nothing"


def test_an_unregistered_writer_is_found(tmp_path: Path) -> None:
    """The test above fails when someone plants one, and when a registered one stops."""
    package = tmp_path / "lmeraser_ray"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    before = writers(package)
    (package / "cache.py").write_text(
        "from pathlib import Path\n\ndef remember(x: bytes) -> None:\n    "
        "Path('/tmp/x').write_bytes(x)\n"
    )
    assert writers(package) - before == {"cache.py"}
    (package / "pipeline/features.py").write_text("")
    assert before - writers(package) == {"pipeline/features.py"}


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "open(path, how)",
        "path.open('x')",
        "path.open(mode='r+')",
        "os.fdopen(handle, 'wb')",
        "os.open(path, os.O_RDWR | os.O_CREAT)",
        "os.pwrite(handle, data, 0)",
        "os.replace(a, b)",
        "path.write_text(text)",
        "write_atomic(path, data, scratch=s)",
        "files.write_temporary(folder, chunks)",
        "self.store.put('records', key, [data])",
        "put_bucket(store, listing, 1, rows, pictures)",
        "np.save(path, x)",
        "np.savez(path, x)",
        "x.tofile(path)",
        "torch.save(x, path)",
        "save_file(tensors, path)",
        "figure.savefig(path)",
        "table.to_csv(path)",
        "pq.write_table(t, path)",
        "json.dump(x, file)",
        "yaml.safe_dump(x, file)",
        "pickle.dump(x, file)",
        "shutil.copyfile(a, b)",
        "tarfile.open(path, 'w')",
        "zipfile.ZipFile(path, 'a')",
        "gzip.open(path, 'wt')",
        "tempfile.mkdtemp()",
        "NamedTemporaryFile()",
        "urllib.request.urlretrieve(url, path)",
        "datasets.CIFAR10(root, download=True)",
        "logging.FileHandler(path)",
        "ray.put(x)",
        "task.remote(x)",
        "import sqlalchemy; conn.execute(sqlalchemy.insert(t), rows)",
        "from sqlalchemy import text; conn.execute(text('UPDATE t SET a = 1'))",
        "import sqlite3; conn.execute('insert into t values (1)')",
        "from sqlalchemy import update; x = update(t).values(a=1)",
        "import sqlalchemy as sa; sa.update(t)",
        "from sqlalchemy import Table; t.delete()",
    ],
)
def test_ways_to_write(line: str) -> None:
    assert next(writing_calls(line), None) is not None


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open(encoding='utf-8')",
        "Image.open(io.BytesIO(x), formats=F)",
        "os.open(path, os.O_RDONLY)",
        "os.open(os.devnull, os.O_WRONLY)",
        "tarfile.open(path)",
        "json.dumps(x)",
        "yaml.safe_dump(x, sort_keys=False)",
        "line.put(request, key)",
        "import sqlalchemy; known.update(more)",
        "save({'features': x})",
        "to_csv(found)",
        "known.update(more)",
        "text.replace('a', 'b')",
        "from sqlalchemy import select; conn.execute(select(t))",
    ],
)
def test_ways_to_read(line: str) -> None:
    assert next(writing_calls(line), None) is None


def test_every_file_of_a_workspace_has_one_place(world: World) -> None:
    """Also in fact: after a training nothing is there that no place owns."""
    root = world.space()
    train(Recorder().session(root), world.config())
    kept = [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
    assert {"CURRENT", "configuration.json", "requests.db", "secret", "lock"} <= set(kept)
    kinds = [StoredObject(kind, "0" * 64, "f" * 64).name for kind in KINDS]
    for name in (*kept, *OWN_FILES, *(f"objects/{name}" for name in kinds), "objects/tmp/run/1-2"):
        assert sum(place.owns(name) for place in DATA_INVENTORY) == 1, name
    assert isinstance(WorkspaceFolder(root).published(), Manifest)


@pytest.mark.parametrize(
    "name", ["notes.txt", "CURRENT.old", "objects/other/x", "object", "requests.db-wal", ".hidden"]
)
def test_a_foreign_file_has_none(name: str) -> None:
    assert place_of(name) is None


def test_each_place_says_all_that_a_certificate_needs() -> None:
    assert [*WRITERS] == [place.name for place in DATA_INVENTORY]
    for place in DATA_INVENTORY:
        assert WRITERS[place.name] and place.holds
        assert place.deletion.endswith(".") and place.because.endswith(".")
        assert bool(place.where) == (place.base == "workspace")
        assert place.base == "workspace" or place.how in ("raw", "no")
