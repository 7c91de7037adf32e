"""The one registry of every place where private data rests or passes: what is there, by which edge
it goes, and how it is searched.

A place is found by the name of a file within the workspace, or lies outside. The absence scan goes
through this list, the certificate says what of it was searched and what was not, and a test reads
the program's own source: a module that writes to a disk or a database is in no place's `writers`
only over that test's failure.
"""

from dataclasses import dataclass
from typing import Literal

How = Literal["parsed", "raw", "rows", "no"]
"""parsed: read as what it is, every row and byte accounted for, and searched as bytes besides; raw:
searched as bytes; rows: the database's rows, and of SQLite every byte of the file; no: not
searched, for the reason given."""
Base = Literal["workspace", "ray", "elsewhere"]


@dataclass(frozen=True, slots=True)
class DataPlace:
    """A place. name: as certificates have it; holds: what of the private data; base: what `where`
    is relative to; where: names of files, or of folders (with a slash at the end) with all that is
    below; deletion: the edge by which its contents go, and when; how: it is searched; because: why
    so; writers: the modules that write there, relative to the package."""

    name: str
    holds: str
    deletion: str
    how: How
    because: str
    writers: tuple[str, ...]
    where: tuple[str, ...] = ()
    base: Base = "workspace"

    def owns(self, path: str) -> bool:
        """Whether a file of the workspace, by its path below it with `/`, is of this place."""
        return self.base == "workspace" and any(
            path == name or (name.endswith("/") and path.startswith(name)) for name in self.where
        )


REACHABILITY = (
    "A file that neither the published manifest nor work under way reaches is removed by the "
    "purge after each publication"
)
THE_STORE = (
    "storage/store.py",
    "storage/files.py",
    "storage/object_storage/path.py",
    "operations/restore.py",
)
"""Every object gets its name by these, whoever makes it."""

RECORDS = DataPlace(
    "records",
    "ids, subjects, labels, digests",
    f"{REACHABILITY}: a bucket without the record is another object.",
    "parsed",
    "Every row is compared with the ids and digests; Parquet is written plain, so that the bytes "
    "show what is there.",
    ("data/buckets.py", "operations/verify.py", *THE_STORE),
    ("objects/records/",),
)
PICTURES = DataPlace(
    "pictures",
    "the encoded pictures",
    f"{REACHABILITY}: a bucket's pictures are written again without the record's.",
    "parsed",
    "Every byte must belong to a live record's row; what is found lies in one whose digest is "
    "computed again.",
    ("data/buckets.py", "operations/verify.py", *THE_STORE),
    ("objects/pictures/",),
)
FEATURES = DataPlace(
    "features",
    "one vector a record",
    f"{REACHABILITY}: a bucket's features are written again without the record's row.",
    "parsed",
    "There must be as many rows as live records, and a key that these give.",
    ("pipeline/features.py", *THE_STORE),
    ("objects/features/",),
)
PARTITIONS = DataPlace(
    "partitions",
    "prototypes, which are means of features or one record's, and the clusters of the sampled "
    "records",
    f"{REACHABILITY}: a sampled record's going makes another partition.",
    "raw",
    "Its key is computed from the sampled live records; its bytes are searched.",
    ("models/partition/stage.py", "models/partition/public.py", "operations/verify.py", *THE_STORE),
    ("objects/partitions/",),
)
ASSIGNMENTS = DataPlace(
    "assignments",
    "the shard of each record, by its row",
    f"{REACHABILITY}: it goes with its bucket's features.",
    "raw",
    "A list of numbers, searched as bytes.",
    ("models/partition/stage.py", *THE_STORE),
    ("objects/assignments/",),
)
CONSTITUENTS = DataPlace(
    "constituents",
    "what was learned from records; of the nearest-neighbour learner their features, rounded",
    f"{REACHABILITY}: a shard without the record has another key, and is trained again.",
    "raw",
    "Keys are computed from the digests of the members; bytes are searched. What training leaves "
    "in weights cannot be searched for: that the published state equals training without the "
    "record is what `lmeraser verify --rebuild` shows.",
    ("pipeline/jobs.py", "study/unlearners.py", *THE_STORE),
    ("objects/constituents/",),
)
MANIFESTS = DataPlace(
    "manifests",
    "digests and counts, by which an old state could be told",
    f"{REACHABILITY}: old manifests go with what only they reach.",
    "raw",
    "Canonical JSON, searched as bytes.",
    (
        "pipeline/workspace_folder.py",
        "operations/train.py",
        "erasure/queue/publisher.py",
        *THE_STORE,
    ),
    ("objects/manifests/",),
)
SCRATCH = DataPlace(
    "scratch",
    "anything, while it is being written: records that arrive, objects before they have their "
    "names, a rebuilt state, a backup unpacked",
    "Removed when the command ends, and by the next command that takes the workspace's lock "
    "where it did not come to that. Records that arrive are in a file without a name (of the "
    "system's folder for temporary files, where the workspace is in object storage), which goes "
    "with the process.",
    "raw",
    "Only the command that holds the lock has a folder there; files of any other are findings.",
    (
        "data/ingest.py",
        "study/attack.py",
        "operations/backup.py",
        "erasure/backup/unpack.py",
        "storage/files.py",
        "operations/verify.py",
        *THE_STORE,
    ),
    ("objects/tmp/",),
)
POINTER = DataPlace(
    "the pointer",
    "the published manifest's digest and the keys of constituents in quarantine",
    "Replaced by each publication.",
    "raw",
    "Text.",
    ("pipeline/workspace_folder.py",),
    ("CURRENT", "CURRENT.next"),
)
CONFIGURATION = DataPlace(
    "configuration.json",
    "paths that a person typed, in which an id may be",
    "Replaced by the next training.",
    "raw",
    "JSON text.",
    ("pipeline/workspace_folder.py", "storage/files.py"),
    ("configuration.json",),
)
SECRET = DataPlace(
    "the secret",
    "the key with which keyed hashes of ids can be asked for",
    "Goes with the workspace: without it nobody could keep the erased out.",
    "raw",
    "32 random bytes.",
    ("storage/database/pseudonyms.py", "storage/files.py", "operations/restore.py"),
    ("secret",),
)
DATABASE = DataPlace(
    "the request database",
    "ids that open requests name, needles of the records that they remove; keyed hashes of all "
    "that was erased (tombstones, ledger, certificates)",
    "Ids and needles are set to null in the transaction that makes the request PURGED, REFUSED "
    "or CANCELLED, and overwritten (SQLite, secure_delete) or vacuumed (PostgreSQL); keyed "
    "hashes stay, so that the erased are not let in again.",
    "rows",
    "Ids and needles of requests that are still open are at home there; any other occurrence in "
    "a row, or in any byte of SQLite's file and its journal, is a finding.",
    (
        "storage/database/database.py",
        "erasure/backup/database_dump.py",
        "storage/database/sqlite.py",
        "storage/database/tombstones.py",
        "erasure/queue/lease.py",
        "storage/database/ledger.py",
        "pipeline/pointer.py",
        "erasure/queue/publisher.py",
        "erasure/backup/reconcile.py",
        "erasure/requests/repository.py",
        "erasure/requests/transitions.py",
    ),
    ("requests.db", "requests.db-journal", "requests.lock", "requests.waiting", "tombstones"),
)
LOCKS = DataPlace(
    "lock and pin files",
    "a process id; where the request database is, without credentials",
    "Nothing of a person is in them.",
    "raw",
    "Text.",
    (
        "pipeline/workspace_folder.py",
        "storage/database/database_location.py",
        "storage/files.py",
        "storage/file_lock.py",
        "storage/database/workspace_lock.py",
    ),
    ("lock", "database"),
)
RAY_SESSION = DataPlace(
    "Ray's session folder",
    "spilled objects (pixels, features), logs, and what a driver's command line said",
    "Spilled objects go when they are released; the folder when somebody removes it after the "
    "cluster has stopped.",
    "raw",
    "Searched where the scan is told of the folder; other machines' folders are not seen from "
    "here.",
    ("distributed/engine.py", "distributed/features.py"),
    base="ray",
)
RAY_MEMORY = DataPlace(
    "memory of processes and of Ray's object store",
    "pixels, features and weights under way; rows of buckets that a worker has read",
    "Overwritten when the memory is used again; gone with the process or the cluster.",
    "no",
    "Memory of running processes is not searched.",
    (
        "distributed/actor_handle.py",
        "distributed/claims.py",
        "distributed/engine.py",
        "distributed/features.py",
        "distributed/queue_actor.py",
        "distributed/sweep.py",
    ),
    base="ray",
)
STUDIES = DataPlace(
    "studies",
    "STUDY/work: records and models while a study runs, or for as long as `--keep` asks; results "
    "name no record; in choice.json, keyed digests of the records that a sweep saw",
    "STUDY/work is removed when a study has ended; with `--keep`, by the next run without it. No "
    "erasure in a workspace reaches it, but a sweep that runs with this workspace begins again "
    "without the record.",
    "no",
    "A workspace does not know of studies: whoever keeps one ends it.",
    (
        "study/study_folder.py",
        "study/sweep_records.py",
        "study/attack.py",
        "study/unlearners.py",
        "storage/files.py",
    ),
    base="elsewhere",
)
FIGURES = DataPlace(
    "figures",
    "`lmeraser figures --workspace` draws sheets of people's pictures",
    "Removed by whoever drew them. No erasure reaches them.",
    "no",
    "They were drawn, scaled and encoded anew, so that no bytes are left to search for, in a "
    "folder that the workspace does not know.",
    ("study/figures.py", "study/figure/style.py", "storage/files.py"),
    base="elsewhere",
)
DEMONSTRATION = DataPlace(
    "demonstration",
    "one of scikit-learn's handwritten digits, which is nobody's",
    "Removed by the next demonstration.",
    "no",
    "It is public.",
    ("cli/demo.py",),
    base="elsewhere",
)
DOWNLOADS = DataPlace(
    "downloads",
    "public data sets and weights, which torchvision and timm fetch and keep; of a data set that "
    "is trained on, the records",
    "They are a source, as a folder of pictures is: erasing from a workspace does not change "
    "where its records came from.",
    "no",
    "The source is its owner's to change.",
    ("data/sources/torchvision.py",),
    base="elsewhere",
)
PROOFS = DataPlace(
    "certificates, keys and heads",
    "keyed hashes; a certificate that was written to a file, the signing key, an exported head "
    "of the ledger",
    "Kept: they are the evidence.",
    "no",
    "They are made from rows in which there are keyed hashes only, and those are searched.",
    ("erasure/certificate/keystore.py", "cli/evidence.py", "storage/files.py"),
    base="elsewhere",
)
BACKUPS = DataPlace(
    "backups",
    "all that a workspace holds, as it was; files of erasures, in which there are keyed hashes "
    "only",
    "They expire when whoever keeps them removes them; a restore leaves out whoever was erased "
    "since.",
    "no",
    "A workspace does not know where its backups are.",
    (
        "operations/backup.py",
        "erasure/backup/archive.py",
        "erasure/backup/erasure_list.py",
        "storage/files.py",
    ),
    base="elsewhere",
)
BUCKETS = DataPlace(
    "what object storage keeps besides a workspace's objects",
    "replicas and backups of a bucket; old versions of its objects, if somebody makes it keep them",
    "A bucket that answers a write with the version of an object is refused; the rest is its "
    "operator's.",
    "no",
    "The workspace sees its objects only.",
    ("storage/object_storage/path.py",),
    base="elsewhere",
)
TERMINAL = DataPlace(
    "the terminal",
    "what commands print: ids that a person typed, or asked for",
    "Where output is sent to a file, the file goes with whoever keeps it.",
    "no",
    "It is nobody's file, or one that the workspace does not know.",
    ("cli/main.py", "cli/demo.py", "operations/stop_signal.py", "cli/live_table.py"),
    base="elsewhere",
)
DATA_INVENTORY = (
    *(RECORDS, PICTURES, FEATURES, PARTITIONS, ASSIGNMENTS, CONSTITUENTS, MANIFESTS, SCRATCH),
    *(POINTER, CONFIGURATION, SECRET, DATABASE, LOCKS),
    *(
        RAY_SESSION,
        RAY_MEMORY,
        STUDIES,
        FIGURES,
        DEMONSTRATION,
        DOWNLOADS,
        PROOFS,
        BACKUPS,
        BUCKETS,
        TERMINAL,
    ),
)
FOREIGN = "files that are no part of the workspace"


def place_of(path: str) -> DataPlace | None:
    """The place of a file of the workspace, by its path below it with `/`; None for one that is no
    part of it."""
    return next((place for place in DATA_INVENTORY if place.owns(path)), None)
