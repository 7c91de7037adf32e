"""The data inventory: every place where private data rests or passes, how its contents go, and how
the absence scan searches it.

A place is found by the names of its files within the workspace, or lies outside of it. The scan
walks through this list, and the certificate says what of it was searched and what was not. A test
reads the program's own source, and fails where a module writes to a disk or a database that no
place accounts for.
"""

from dataclasses import dataclass
from typing import Literal

from lmeraser_ray.erasure.circumstances import Condition

How = Literal["parsed", "raw", "rows", "no"]
"""parsed: every row and byte accounted for, and searched as bytes besides; raw: searched as bytes;
rows: the rows of the database, and of SQLite every byte of the file; no: not searched, for the
reason given."""
Base = Literal["workspace", "ray", "elsewhere"]


@dataclass(frozen=True, slots=True)
class DataPlace:
    """A place.

    name: as certificates have it; holds: its private data; deletion: how and when its contents go;
    how: it is searched; because: the reason, as certificates have it; where: names of files, or of
    folders (with a slash at the end) with all that is below, relative to `base`; only: in which
    workspaces it can hold anything of theirs.
    """

    name: str
    holds: str
    deletion: str
    how: How
    because: str
    where: tuple[str, ...] = ()
    base: Base = "workspace"
    only: Condition = "always"

    def owns(self, path: str) -> bool:
        """Whether a file of the workspace, by its path below it with `/`, is of this place."""
        return self.base == "workspace" and any(
            path == name or (name.endswith("/") and path.startswith(name)) for name in self.where
        )


PURGE = "Each publication purges the files that neither its manifest nor work under way reaches"

RECORDS = DataPlace(
    "records",
    "ids, subjects, labels, digests",
    f"{PURGE}: a bucket without the record is another object.",
    "parsed",
    "Every row is compared with the ids and digests; Parquet is written plain, so that the bytes "
    "show what is there.",
    ("objects/records/",),
)
PICTURES = DataPlace(
    "pictures",
    "the encoded pictures",
    f"{PURGE}: a bucket's pictures are written again without the record's.",
    "parsed",
    "Every byte must belong to a live record's row; what is found lies in one whose digest is "
    "computed again.",
    ("objects/pictures/",),
)
FEATURES = DataPlace(
    "features",
    "one vector a record",
    f"{PURGE}: a bucket's features are written again without the record's row.",
    "parsed",
    "There must be as many rows as live records, and a key that these give.",
    ("objects/features/",),
)
PARTITIONS = DataPlace(
    "partitions",
    "prototypes (means of features, or features of one record), and the clusters of the sample",
    f"{PURGE}: the deletion of a sampled record makes another partition.",
    "raw",
    "Its key is computed from the sampled live records; its bytes are searched.",
    ("objects/partitions/",),
)
ASSIGNMENTS = DataPlace(
    "assignments",
    "the shard of each record, by its row",
    f"{PURGE}: the assignments go with their bucket's features.",
    "raw",
    "A list of numbers, searched as bytes.",
    ("objects/assignments/",),
)
STATISTICS = DataPlace(
    "statistics",
    "sums over the records of a shard, by class: counts, features, products of features",
    f"{PURGE}: a shard without the record has other sums, in which nothing of it is left.",
    "raw",
    "Keys are computed from the digests of the members; bytes are searched. `lmeraser verify "
    "--rebuild` counts them again.",
    ("objects/statistics/",),
)
CONSTITUENTS = DataPlace(
    "constituents",
    "what was learned from records; for nearest neighbours their features, rounded",
    f"{PURGE}: a shard without the record has another key, and is trained again.",
    "raw",
    "Keys are computed from the digests of the members; bytes are searched. What training leaves "
    "in weights cannot be searched for: that the published state equals training without the "
    "record is what `lmeraser verify --rebuild` shows.",
    ("objects/constituents/",),
)
MANIFESTS = DataPlace(
    "manifests",
    "digests and counts, by which an old state could be recognised",
    f"{PURGE}: old manifests are among them.",
    "raw",
    "Canonical JSON, searched as bytes.",
    ("objects/manifests/",),
)
SCRATCH = DataPlace(
    "scratch",
    "anything that is being written: arriving records, new objects, a rebuilt state, an unpacked "
    "backup",
    "Each command removes its folder when it ends; the next holder of the workspace's lock removes "
    "the folder of a command that died. Arriving records are in a file without a name (in the "
    "system's temporary folder, where the workspace is in object storage) and go with the process.",
    "raw",
    "Only the command that holds the lock has a folder there; files of any other are findings.",
    ("objects/tmp/",),
)
POINTER = DataPlace(
    "the pointer",
    "the published manifest's digest and the keys of constituents in quarantine",
    "Each publication replaces it.",
    "raw",
    "Text.",
    ("CURRENT", "CURRENT.next"),
)
CONFIGURATION = DataPlace(
    "configuration.json",
    "paths that a person typed, which may contain an id",
    "The next training replaces it.",
    "raw",
    "JSON text.",
    ("configuration.json",),
)
SECRET = DataPlace(
    "the secret",
    "the key of the keyed hashes of ids",
    "A version of the secret stays until `lmeraser secret retire`, when no tombstone and no open "
    "request needs it: erased ids are recognised by it. Where LMERASER_SECRET leads to it, it is "
    "not in the workspace.",
    "raw",
    "Random bytes, or a marker that the secret lies outside.",
    ("secret",),
)
DATABASE = DataPlace(
    "the request database",
    "ids that open requests name, traces of the records that they remove; keyed hashes of all that "
    "was erased (tombstones, ledger, certificates)",
    "The transaction that makes a request PURGED, REFUSED or CANCELLED sets its ids and traces to "
    "null; SQLite overwrites them (secure_delete), PostgreSQL is vacuumed. Keyed hashes stay, so "
    "that erased records are not let in again: tombstones for `queue.tombstone_days`, where that "
    "is set.",
    "rows",
    "Ids and traces of requests that are still open are at home there; any other occurrence in "
    "a row, or in any byte of SQLite's file and its journal, is a finding.",
    ("requests.db", "requests.db-journal", "requests.lock", "requests.waiting", "tombstones"),
)
LOCKS = DataPlace(
    "lock and pin files",
    "a process id; where the request database is, without credentials; how fast trainings were",
    "They hold nothing of a person.",
    "raw",
    "Text.",
    ("lock", "database", "pace.json"),
)
RAY_SESSION = DataPlace(
    "Ray's session folder",
    "spilled objects (pixels, features), logs, and a driver's command line",
    "Ray removes spilled objects when they are released; the folder stays after the cluster has "
    "stopped until somebody removes it.",
    "raw",
    "Searched where the scan is told of the folder; other machines' folders are not seen from "
    "here.",
    base="ray",
    only="ray",
)
RAY_MEMORY = DataPlace(
    "memory of processes",
    "pixels, features and weights under way; rows of buckets that a worker has read",
    "Memory is overwritten when it is used again, and goes with the process or the cluster.",
    "no",
    "Memory of running processes, of Ray's object store too where there is one, is not searched.",
    base="ray",
)
STUDIES = DataPlace(
    "studies",
    "STUDY/work: records and models while a study runs, longer with `--keep`; results name no "
    "record; choice.json: keyed digests of the records that a sweep saw",
    "A study removes STUDY/work when it has ended; after `--keep`, the next run without it does. "
    "No erasure in a workspace reaches a study, but a sweep that runs with the workspace begins "
    "again without the record.",
    "no",
    "A workspace does not know of studies: whoever keeps one ends it.",
    base="elsewhere",
)
FIGURES = DataPlace(
    "figures",
    "sheets of people's pictures, made by `lmeraser figures --workspace`; those and lists of ids "
    "that `lmeraser inspect` made",
    "Whoever made them removes them. No erasure reaches them.",
    "no",
    "They were drawn, scaled and encoded anew, so that no bytes are left to search for, in a "
    "folder that the workspace does not know.",
    base="elsewhere",
)
PASSED_ON = DataPlace(
    "reports and exported models",
    "of a model what it learned: weights, prompts, prototypes; for nearest neighbours, and where "
    "whoever exported it asked for that, features of records; names of classes",
    "Whoever has them removes them. No erasure reaches them.",
    "no",
    "They were made to leave: the workspace does not know where they are.",
    base="elsewhere",
)
DEMONSTRATION = DataPlace(
    "demonstration",
    "one of scikit-learn's handwritten digits, which is of no person",
    "The next demonstration removes it.",
    "no",
    "It is public.",
    base="elsewhere",
    only="never",
)
DOWNLOADS = DataPlace(
    "downloads",
    "public data sets and weights that torchvision and timm fetch and keep; of a data set that is "
    "trained on, the records",
    "They are a source, as a folder of pictures is: an erasure does not change the source.",
    "no",
    "The source is its owner's to change.",
    base="elsewhere",
    only="fetched",
)
PROOFS = DataPlace(
    "certificates, keys and heads",
    "keyed hashes; a certificate that was written to a file, the signing key, an exported head "
    "of the ledger",
    "They are kept: they are the evidence.",
    "no",
    "They are made from rows in which there are keyed hashes only, and those are searched.",
    base="elsewhere",
)
BACKUPS = DataPlace(
    "backups",
    "all that a workspace held; files of erasures, which hold keyed hashes only",
    "They expire when whoever keeps them removes them; a restore leaves out what was erased since.",
    "no",
    "A workspace does not know where its backups are.",
    base="elsewhere",
)
BUCKETS = DataPlace(
    "what object storage keeps besides a workspace's objects",
    "replicas and backups of a bucket; old versions of its objects, where versioning is on",
    "A bucket that keeps versions is refused; replicas and backups are its operator's to remove.",
    "no",
    "The workspace sees its objects only.",
    base="elsewhere",
    only="object storage",
)
TERMINAL = DataPlace(
    "the terminal",
    "what commands print: ids that a person typed, or asked for",
    "A file to which output is sent goes with whoever keeps it.",
    "no",
    "It is nobody's file, or one that the workspace does not know.",
    base="elsewhere",
)
DATA_INVENTORY = (
    *(RECORDS, PICTURES, FEATURES, PARTITIONS, ASSIGNMENTS, STATISTICS, CONSTITUENTS, MANIFESTS),
    SCRATCH,
    *(POINTER, CONFIGURATION, SECRET, DATABASE, LOCKS, RAY_SESSION, RAY_MEMORY, STUDIES, FIGURES),
    PASSED_ON,
    *(DEMONSTRATION, DOWNLOADS, PROOFS, BACKUPS, BUCKETS, TERMINAL),
)
FOREIGN = "files that are no part of the workspace"


def place_of(path: str) -> DataPlace | None:
    """Return the place of a file of the workspace, by its path below it with `/`; None for a file
    that is no part of a workspace."""
    return next((place for place in DATA_INVENTORY if place.owns(path)), None)
