"""Names that a person asks for and that look like others: what is refused, and what is said.

    asked name → held, or erased before: go on
               → neither: say whether one that looks the same is held, and by what the two differ

Place in the flow: `submit`, `unlearn` and `cost`, before and after a request. Invariants: a name
that a workspace of an earlier release holds can be erased, whatever its characters; what is said of
the workspace is no name, and nothing about names that do not look like the asked one.
"""

from typing import TYPE_CHECKING

from lmeraser_ray.data.lookalikes import difference, look, unseen
from lmeraser_ray.erasure.requests.targets import ErasureTargets
from lmeraser_ray.errors import DataError
from lmeraser_ray.pipeline.session import Session
from lmeraser_ray.storage.database.pseudonyms import TargetKind
from lmeraser_ray.storage.database.tombstones import Tombstones

if TYPE_CHECKING:
    from lmeraser_ray.data.index import RecordIndex

COLUMNS: dict[TargetKind, str] = {"record": "record_id", "subject": "subject_id"}


def refuse_unseen(session: Session, targets: ErasureTargets) -> None:
    """Errors: `DataError` where an asked name holds a character that nobody sees, and was never one
    of the workspace's."""
    asked: list[tuple[TargetKind, str]] = [
        *(("record", name) for name in targets.records if unseen(name)),
        *(("subject", name) for name in targets.subjects if unseen(name)),
    ]
    if not asked:
        return
    index = held_records(session)
    with session.database() as database:
        erased = Tombstones(session.names(), database)
        for what, name in asked:
            if not index.held(COLUMNS[what], [name]).any() and not erased.covers(what, name):
                raise DataError(
                    f"The {what} {name[:40]!a} holds {unseen(name)}, which nobody sees, and "
                    f"no {what} of the workspace has this name: nothing was "
                    f"changed.{held_alike(index, what, name)} Type it anew."
                )


def held_records(session: Session) -> "RecordIndex":
    """Return the index of the published records, empty before the first training."""
    from lmeraser_ray.data.index import RecordIndex

    if session.folder.current() is None:
        return RecordIndex.read(session.folder.store, [])
    return session.consistently(
        lambda state: RecordIndex.read(
            session.folder.store, [bucket.bucket for bucket in state.manifest.buckets]
        )
    )


def held_alike(index: "RecordIndex", what: TargetKind, name: str) -> str:
    """Return a sentence where the records hold a name that looks like an unknown one, with the
    characters by which the two differ; nothing where they hold none."""
    from lmeraser_ray.data.alike_names import beyond_ascii

    asked, column = look(name), COLUMNS[what]
    plain = {asked} if index.held(column, [asked]).any() else set()
    for held in sorted(plain | beyond_ascii(index, column)):
        if held != name and look(held) == asked:
            return f" One that looks the same is held: the two differ in {difference(name, held)}."
    return ""
