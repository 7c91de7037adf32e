"""The limitations of an erasure, in sentences that go into the certificate: memory, media, and
copies that the workspace does not know.

Each sentence holds in all workspaces, or under one condition. No sentence claims that
something is gone: the absence scan searches files and database rows, and these are the places that
it cannot search (GDPR art. 5(2); CNIL 2025: data removed, model replaced and backup expiry are
three facts).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lmeraser_ray.erasure.circumstances import Circumstances, Condition


@dataclass(frozen=True)
class Sentence:
    """One sentence. only: where it holds."""

    text: str
    only: Condition = "always"


TRANSIENT = (
    Sentence(
        "Files of the workspace were unlinked after the new state was published, that is, "
        "logically deleted: neither Clear nor Purge in the sense of NIST SP 800-88, since the "
        "blocks of the medium were not overwritten.",
        only="disk",
    ),
    Sentence(
        "Objects of the workspace were deleted after the new state was published: neither Clear "
        "nor Purge in the sense of NIST SP 800-88, since the object storage alone knows when their "
        "blocks are overwritten.",
        only="object storage",
    ),
    Sentence(
        "The operating system may keep contents of removed files in its page cache and in the "
        "file system's journal, and memory of the processes in swap or in a core dump, until "
        "these are reused or removed."
    ),
    Sentence(
        "Memory of the processes, and of accelerators where they were used, that read or trained "
        "on the records was released and not overwritten; it holds their contents until it is "
        "reused or the process ends."
    ),
    Sentence(
        "Ray's object store (plasma, in shared memory) may hold bytes of released objects until "
        "the memory is reused or the cluster stops.",
        only="ray",
    ),
    Sentence(
        "Files that Ray spilled objects to are unlinked when the objects are released or the "
        "cluster stops; their blocks are not overwritten.",
        only="ray",
    ),
    Sentence(
        "In the request database (SQLite with secure_delete) removed names are overwritten with "
        "zeros; the rollback journal that held them meanwhile is unlinked, and its blocks are "
        "not overwritten.",
        only="sqlite",
    ),
    Sentence(
        "In the request database (PostgreSQL) removed names are in dead rows until VACUUM frees "
        "their space, which does not overwrite it, and in the write-ahead log (WAL) until its "
        "segments are recycled.",
        only="postgresql",
    ),
)
"""What may stay in memory and on media for a while."""

BACKUPS = (
    Sentence(
        "Backups of the workspace that were made before hold what they held: `lmeraser restore` "
        "erases it again before anything is served, and any other way of restoring does not; "
        "when they expire is for whoever keeps them to decide and to prove."
    ),
    Sentence(
        "Snapshots of the file system or of a virtual machine were not looked at.", only="disk"
    ),
    Sentence(
        "Older versions of objects in a versioned bucket, and its replicas, were not looked at.",
        only="object storage",
    ),
    Sentence(
        "The source that the records were read from, and copies of data or of trained states "
        "that left the workspace, were not changed: their recipients are to be told (GDPR art. "
        "19)."
    ),
    Sentence(
        "Replicas, base backups and archived write-ahead logs of the PostgreSQL server hold "
        "removed names until their own retention ends.",
        only="postgresql",
    ),
)
"""What other copies there may be."""


def sentences_of(said: Sequence[Sentence], where: Circumstances) -> tuple[str, ...]:
    """Return the sentences that hold in a workspace."""
    return tuple(each.text for each in said if where.holds(each.only))
